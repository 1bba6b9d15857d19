"""Files of a cluster, and a link to somebody who is not who he must be."""

import asyncio
import base64
import os
import tempfile
import unittest

from themis import cluster, keys, link, wire

HELLO = {"version": 1, "cluster": bytes(16), "epoch": 0, "protocol": "pbft"}


def text(**changes):
    values = dict(cluster='"%s"' % ("ab" * 16), f="1", skew='"1m30s"', batch='"128KiB"', id1="1")
    values.update(changes)
    lines = ["cluster = " + values["cluster"], 'protocol = "pbft"', 'app = "kv"', "f = " + values["f"], 'scheme = "ed25519"', "open = true"]
    lines += ["[parameters]", "batch_bytes = " + values["batch"], "time_skew = " + values["skew"]]
    for i in range(4):
        key = base64.b64encode(keys.Key.from_seed(bytes([i]) * 32).pkix).decode()
        lines += ["[[replicas]]", "id = %s" % (values["id1"] if i == 1 else i), 'key = "%s"' % key, 'client = "127.0.0.1:%d"' % (7000 + i)]
    return "\n".join(lines)


class Files(unittest.TestCase):
    def load(self, content):
        with tempfile.TemporaryDirectory() as d:
            with open(os.path.join(d, "cluster.toml"), "w") as f:
                f.write(content)
            return cluster.load(d)

    def test_cluster(self):
        c = self.load(text())
        self.assertEqual((c.n, c.f, c.cluster, c.addresses[2]), (4, 1, b"\xab" * 16, ("127.0.0.1", 7002)))
        m = c.membership
        self.assertEqual((m["time_skew"], m["batch_bytes"], m["window"], m["checkpoint_every"]), (90 * 10**9, 131072, 256, 64))

    def test_refused(self):
        """What is wrong is said with the file and the next command."""
        for change in ({"cluster": '"abc"'}, {"cluster": '"abcd"'}, {"f": "4"}, {"f": '"x"'}, {"skew": '"10"'}, {"batch": '"1 kB"'}, {"id1": "2"}):
            with self.subTest(change=change), self.assertRaises(cluster.ClusterError) as e:
                self.load(text(**change))
            self.assertIn("cluster.toml", str(e.exception))
            self.assertIn("themis config validate", e.exception.hint)
        with self.assertRaises(cluster.ClusterError) as e:
            cluster.load("/nonexistent")
        self.assertIn("themis cluster up", e.exception.hint)

    def test_schemes(self):
        """Signatures of the other schemes have the form that the document gives them."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

        key = keys.Key(ec.generate_private_key(ec.SECP256R1()))
        for _ in range(8):
            s = key.sign(b"message")
            r, low = int.from_bytes(s[:32], "big"), int.from_bytes(s[32:], "big")
            self.assertEqual((len(s), low <= keys.P256_ORDER // 2), (64, True))
            key.public.verify(utils.encode_dss_signature(r, low), b"message", ec.ECDSA(hashes.SHA256()))
        key = keys.Key(rsa.generate_private_key(65537, 2048))
        key.public.verify(key.sign(b"message"), b"message", padding.PKCS1v15(), hashes.SHA256())
        self.assertEqual(len(key.id), 32)


class Links(unittest.IsolatedAsyncioTestCase):
    async def server(self, key, serve):
        s = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=link.context(key, server=True))
        self.addAsyncCleanup(s.wait_closed)
        self.addCleanup(s.close)
        return s.sockets[0].getsockname()[:2]

    async def dial(self, serve, pinned=None, hello=HELLO):
        key = keys.Key.new()
        address = await self.server(key, serve)
        return await link.dial(address, link.context(keys.Key.new()), pinned or key.pkix, hello)

    @staticmethod
    async def greet(reader, writer):
        try:
            await link.answer(reader, writer, HELLO, 100)
            writer.write(wire.frame(wire.REPLY, b"abc") + wire.u32(wire.CLIENT_FRAME_BYTES_MAX + 1))
            await reader.read()
        except (OSError, EOFError, link.LinkError):
            pass
        finally:
            writer.transport.abort()

    async def test_frames(self):
        c = await self.dial(self.greet)
        self.assertEqual(await c.receive(), (wire.REPLY, b"abc"))
        with self.assertRaises(link.LinkError):
            await c.receive()  # a length over the limit
        c.close()

    async def test_another_key(self):
        with self.assertRaisesRegex(link.LinkError, "another key"):
            await self.dial(self.greet, pinned=keys.Key.new().pkix)

    async def test_another_hello(self):
        with self.assertRaisesRegex(link.LinkError, "they are"):
            await self.dial(self.greet, hello=dict(HELLO, epoch=1))

    async def test_another_first_frame(self):
        for data in (wire.frame(wire.REPLY, b""), wire.u32(129), wire.u32(0), wire.frame(wire.HELLO, b"short")):

            async def serve(reader, writer, data=data):
                writer.write(data)
                try:
                    await reader.read()
                except OSError:
                    pass
                writer.transport.abort()

            with self.subTest(data=data), self.assertRaises((link.LinkError, wire.Malformed)):
                await self.dial(serve)


if __name__ == "__main__":
    unittest.main()
