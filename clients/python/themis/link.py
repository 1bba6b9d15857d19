"""Links: docs/wire.md, "Links". TLS 1.3, keys pinned, HELLO, then frames."""

import asyncio
import os
import ssl
import tempfile

from . import keys, wire

ALPN = "themis/1"
HANDSHAKE_SECONDS = 3
STALL_SECONDS = 10
QUEUE_BYTES_MAX = 8 << 20  # what waits for one end; frames beyond are lost, and sent again


class LinkError(Exception):
    """The other end is not who it must be, or does not speak as it must."""


def context(key, server=False):
    """TLS as both ends want it. Python checks no certificate here; keys are compared below."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    c.minimum_version = ssl.TLSVersion.TLSv1_3
    c.set_alpn_protocols([ALPN])
    if server:
        c.num_tickets = 0
    # The library reads keys from files alone: one without a name, where there is such a thing.
    pem = key.certificate()
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("themis")
        try:
            os.write(fd, pem)
            c.load_cert_chain("/proc/self/fd/%d" % fd)
        finally:
            os.close(fd)
    else:
        with tempfile.NamedTemporaryFile() as f:
            f.write(pem)
            f.flush()
            c.load_cert_chain(f.name)
    return c


class Link:
    """One end of a link whose HELLO is through."""

    def __init__(self, reader, writer, limit):
        self.reader, self.writer, self.limit = reader, writer, limit

    async def receive(self):
        """The next frame: kind and payload. Waits for its first byte without limit."""
        first = await self.reader.readexactly(1)
        async with asyncio.timeout(STALL_SECONDS):
            return await self.rest(first)

    async def rest(self, first):
        n = int.from_bytes(first + await self.reader.readexactly(3), "little")
        if not 1 <= n <= self.limit:
            raise LinkError("a frame of %d bytes" % n)
        data = await self.reader.readexactly(n)
        return data[0], data[1:]

    def send(self, data):
        """Queues whole frames; false if they are lost because the other end does not read."""
        transport = self.writer.transport
        if transport.is_closing() or transport.get_write_buffer_size() + len(data) > QUEUE_BYTES_MAX:
            return False
        self.writer.write(data)
        return True

    def close(self):
        self.writer.transport.abort()


async def first_frame(reader):
    """Reads the first frame, which is HELLO and small."""
    n = int.from_bytes(await reader.readexactly(4), "little")
    if not 1 <= n <= wire.HELLO_FRAME_BYTES_MAX:
        raise LinkError("a first frame of %d bytes" % n)
    data = await reader.readexactly(n)
    if data[0] != wire.HELLO:
        raise LinkError("a first frame of kind %d" % data[0])
    return wire.decode_hello(data[1:])


async def dial(address, tls, pinned, hello, limit=wire.CLIENT_FRAME_BYTES_MAX):
    """Connects to exactly the owner of the pinned key (PKIX). Who dials says HELLO first."""
    async with asyncio.timeout(HANDSHAKE_SECONDS):
        reader, writer = await asyncio.open_connection(*address, ssl=tls, server_hostname="")
        try:
            await greet(reader, writer, pinned, hello)
        except BaseException:
            writer.transport.abort()
            raise
    return Link(reader, writer, limit)


async def greet(reader, writer, pinned, hello):
    t = writer.get_extra_info("ssl_object")
    if t.version() != "TLSv1.3" or t.selected_alpn_protocol() != ALPN:
        raise LinkError("%s with %s" % (t.version(), t.selected_alpn_protocol()))
    try:
        shown = keys.certificate_key(t.getpeercert(binary_form=True))
    except Exception as e:  # whatever a stranger's certificate makes of the library
        raise LinkError("a certificate that cannot be read: %s" % e) from e
    if shown != pinned:
        raise LinkError("another key than the one listed")
    writer.write(wire.frame(wire.HELLO, wire.encode_hello(hello)))
    theirs = await first_frame(reader)
    if theirs != hello:
        raise LinkError("they are %r, we are %r" % (theirs, hello))


async def answer(reader, writer, hello, limit):
    """The accepting end's part: it answers HELLO after the other's came."""
    async with asyncio.timeout(HANDSHAKE_SECONDS):
        theirs = await first_frame(reader)
    writer.write(wire.frame(wire.HELLO, wire.encode_hello(hello)))
    if theirs != hello:
        raise LinkError("they are %r, we are %r" % (theirs, hello))
    return Link(reader, writer, limit)
