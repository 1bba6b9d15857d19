"""Bytes of the wire: docs/wire.md, "Primitives" to "Signed byte strings".

Every decoder accepts exactly one encoding of each value and raises Malformed for anything else.
Values are dictionaries with the names of docs/vectors; byte strings in them are bytes.
"""

import hashlib

VERSION = 1

# Limits (docs/wire.md, "Limits").
REPLICAS_MAX = 64
VIEW_MAX = 1 << 62
SLOT_MAX = 1 << 62
OP_BYTES_MAX = 64 << 10
REQUEST_BYTES_MAX = OP_BYTES_MAX + (4 << 10)
REQUEST_OPS_MAX = 64
SIGNATURE_BYTES_MAX = 512
RESULT_BYTES_MAX = 64 << 10
BATCH_REQUESTS_MAX = 1024
BATCH_BYTES_MAX = 1 << 20
WINDOW_OPS = 256
OPEN_RANDOM_BITS = 37
CLIENT_FRAME_BYTES_MAX = REQUEST_BYTES_MAX + 64
REPLICA_FRAME_BYTES_MAX = 8 << 20
HELLO_FRAME_BYTES_MAX = 128
PROTOCOL_NAME_BYTES_MAX = 32
STATE_ITEM_BYTES_MAX = 16 << 20
FRAGMENT_BYTES_MAX = 64 << 10

# Kinds of frames.
HELLO, REQUEST, RETRY, REPLY, RELAY, FETCH, BODY, STATE_WANT, STATE_ITEM = range(1, 10)

# Flags of a request.
FLAG_OPEN, FLAG_READ_ONLY = 1, 2

# Statuses of a reply.
OK, CLOSED, DROPPED, OUTSIDE, REFUSED = range(5)

MANIFEST = 0xFFFFFFFF
NULL_DIGEST = bytes(32)


class Malformed(Exception):
    """The bytes are not the encoding of anything: their sender is at fault."""


class Reader:
    """Reads primitives from the front of a byte string."""

    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def left(self):
        return len(self.data) - self.at

    def take(self, n):
        if n > self.left():
            raise Malformed("%d bytes wanted, %d left" % (n, self.left()))
        self.at += n
        return self.data[self.at - n : self.at]

    def u(self, size):
        return int.from_bytes(self.take(size), "little")

    def u8(self):
        return self.u(1)

    def u16(self):
        return self.u(2)

    def u32(self):
        return self.u(4)

    def u64(self):
        return self.u(8)

    def bool(self):
        v = self.u8()
        check(v <= 1, "a boolean of %d" % v)
        return v == 1

    def bytes(self, limit):
        n = self.u32()
        check(n <= limit, "%d bytes where at most %d may be" % (n, limit))
        return self.take(n)

    def sig(self):
        n = self.u16()
        check(n <= SIGNATURE_BYTES_MAX, "a signature of %d bytes" % n)
        return self.take(n)

    def count(self, limit, item_bytes_min):
        n = self.u16()
        check(n <= limit, "%d items where at most %d may be" % (n, limit))
        check(n * item_bytes_min <= self.left(), "%d items do not fit" % n)
        return n

    def view(self):
        v = self.u64()
        check(v <= VIEW_MAX, "view %d" % v)
        return v

    def slot(self):
        v = self.u64()
        check(v <= SLOT_MAX, "slot %d" % v)
        return v

    def end(self):
        check(self.left() == 0, "%d bytes too many" % self.left())


def check(good, why):
    if not good:
        raise Malformed(why)


def u8(v):
    return v.to_bytes(1, "little")


def u16(v):
    return v.to_bytes(2, "little")


def u32(v):
    return v.to_bytes(4, "little")


def u64(v):
    return v.to_bytes(8, "little")


def boolean(v):
    return b"\x01" if v else b"\x00"


def with_length(b):
    return u32(len(b)) + b


def with_sig_length(b):
    return u16(len(b)) + b


# Frames.


def frame(kind, payload):
    return u32(1 + len(payload)) + u8(kind) + payload


def parse_frame(data, limit):
    """Parses exactly one frame whose kind and payload have at most limit bytes."""
    r = Reader(data)
    n = r.u32()
    check(1 <= n <= limit, "a frame of %d bytes" % n)
    kind = r.u8()
    payload = r.take(n - 1)
    r.end()
    return kind, payload


def encode_hello(v):
    return u16(v["version"]) + v["cluster"] + u64(v["epoch"]) + with_length(v["protocol"].encode())


def decode_hello(data):
    r = Reader(data)
    v = {"version": r.u16(), "cluster": r.take(16), "epoch": r.u64()}
    try:
        v["protocol"] = r.bytes(PROTOCOL_NAME_BYTES_MAX).decode()
    except UnicodeDecodeError:
        raise Malformed("a name that is no text") from None
    r.end()
    return v


# Requests and replies.


def encode_unsigned_request(v):
    """Everything of a request but its signature: what the client signs behind the tag."""
    head = v["client"] + u64(v["session"]) + u64(v["first"]) + u64(v["done"]) + u64(v["answer"]) + u8(v["flags"])
    return head + u16(len(v["ops"])) + b"".join(map(with_length, v["ops"]))


def encode_request(v):
    return encode_unsigned_request(v) + with_sig_length(v["sig"])


def decode_request(data):
    check(len(data) <= REQUEST_BYTES_MAX, "a request of %d bytes" % len(data))
    r = Reader(data)
    v = {"client": r.take(32), "session": r.u64(), "first": r.u64(), "done": r.u64(), "answer": r.u64(), "flags": r.u8()}
    n = r.count(REQUEST_OPS_MAX, 4)
    check(n > 0, "no operation")
    check(v["flags"] & ~(FLAG_OPEN | FLAG_READ_ONLY) == 0, "unknown flags")
    v["ops"] = [r.bytes(OP_BYTES_MAX) for _ in range(n)]
    v["sig"] = r.sig()
    r.end()
    if v["flags"] & FLAG_OPEN:
        check(v["session"] == 0 and v["done"] == 0 and n == 1, "no proper OPEN")
    else:
        check(v["session"] != 0 and v["first"] < 1 << 62 and v["done"] <= v["first"], "numbers out of range")
        check(v["first"] + n <= v["done"] + WINDOW_OPS, "outside its own window")
    return v


def open_nonce(nanoseconds, random):
    """The number of an OPEN: the time it is made, in units of 2^36 ns, above OPEN_RANDOM_BITS of random."""
    return max(nanoseconds, 0) >> 36 << OPEN_RANDOM_BITS | random


def encode_reply(v):
    return u64(v["session"]) + u64(v["number"]) + u64(v["view"]) + u8(v["status"]) + with_length(v["result"])


def decode_reply(data):
    r = Reader(data)
    v = {"session": r.u64(), "number": r.u64(), "view": r.view(), "status": r.u8()}
    check(v["status"] <= REFUSED, "status %d" % v["status"])
    v["result"] = r.bytes(RESULT_BYTES_MAX)
    r.end()
    return v


# Batches.


def encode_batch(v):
    raw = [encode_request(q) for q in v["requests"]]
    return u64(v["time"]) + u32(len(raw)) + b"".join(map(with_length, raw))


def decode_batch(data):
    """Parses a batch. The null batch has no bytes and is not parsed."""
    check(len(data) <= BATCH_BYTES_MAX, "a batch of %d bytes" % len(data))
    r = Reader(data)
    time, n = r.u64(), r.u32()
    check(time < 1 << 63, "a time below zero")
    check(1 <= n <= BATCH_REQUESTS_MAX, "%d requests" % n)
    requests = [decode_request(r.bytes(REQUEST_BYTES_MAX)) for _ in range(n)]
    r.end()
    return {"time": time, "requests": requests}


# The small frames between replicas.


def encode_fetch(v):
    return v["digest"]


def decode_fetch(data):
    r = Reader(data)
    d = r.take(32)
    r.end()
    check(d != NULL_DIGEST, "the null batch has no body")
    return {"digest": d}


def encode_state_want(v):
    return u64(v["slot"]) + u32(v["item"]) + u32(v["offset"])


def decode_state_want(data):
    r = Reader(data)
    v = {"slot": r.u64(), "item": r.u32(), "offset": r.u32()}
    r.end()
    return v


def encode_state_item(v):
    return encode_state_want(v) + u32(v["total"]) + with_length(v["bytes"])


def decode_state_item(data):
    r = Reader(data)
    v = {"slot": r.u64(), "item": r.u32(), "offset": r.u32(), "total": r.u32()}
    v["bytes"] = r.bytes(FRAGMENT_BYTES_MAX)
    r.end()
    check(v["total"] <= STATE_ITEM_BYTES_MAX, "an item of %d bytes" % v["total"])
    check(v["offset"] + len(v["bytes"]) <= v["total"], "beyond its total")
    return v


# Digests and signed byte strings.


def digest(tag, data):
    return hashlib.sha256(u8(VERSION) + u8(len(tag)) + tag.encode() + data).digest()


def batch_digest(body):
    return digest("batch", body) if body else NULL_DIGEST


def tag(protocol, cluster, epoch, kind, sender):
    """What every signed byte string starts with."""
    name = protocol.encode()
    return b"themis" + u8(VERSION) + u8(len(name)) + name + cluster + u64(epoch) + u8(kind) + u8(len(sender)) + sender


def client_tag(cluster, epoch, client):
    return tag("client", cluster, epoch, REQUEST, client)


def encode_membership(m):
    """The encoding whose digest stands in every checkpoint."""
    out = m["cluster"] + u64(m["epoch"])
    for name in ("protocol", "app", "scheme"):
        out += with_length(m[name].encode())
    out += u16(m["f"]) + u16(len(m["replicas"])) + b"".join(map(with_length, m["replicas"]))
    out += u32(len(m["clients"])) + b"".join(c["id"] + with_length(c["key"]) for c in m["clients"])
    out += boolean(m["open"])
    for name in ("checkpoint_every", "window", "in_flight", "batch_count", "batch_bytes", "sessions", "time_skew"):
        out += u64(m[name])
    return out
