"""Holds the modules against docs/vectors in both directions."""

import json
import os
import re
import unittest

from themis import keys, kv, pbft, state, wire, zip215

FOLDER = os.path.join(os.path.dirname(__file__), "..", "..", "..", "docs", "vectors")
TEXT = {"protocol", "app", "scheme", "op"}


def unhex(text):
    return bytes.fromhex(re.sub(r"\(([0-9a-f]+)\*(\d+)\)", lambda m: m[1] * int(m[2]), text))


def value(v, name=""):
    """A JSON value with bytes in the place of hexadecimal strings; page digests keep their lists."""
    if isinstance(v, dict):
        return {k: value(x, "" if k == "app" and isinstance(x, list) else k) for k, x in v.items()}
    if isinstance(v, list):
        return [value(x, name) for x in v]
    return bytes.fromhex(v) if isinstance(v, str) and name not in TEXT else v


def read(name):
    with open(os.path.join(FOLDER, name)) as f:
        return json.load(f)


MEMBERSHIP = value(read("keys.json")["extra"]["membership"])


def verify(replica, message, signature):
    return keys.verify_ed25519(MEMBERSHIP["replicas"][replica][-32:], message, signature)


GROUP = pbft.Group(4, 1, 4, 8, MEMBERSHIP["cluster"], MEMBERSHIP["epoch"], "pbft", verify)


def frames(limit):
    def decode(data):
        kind, payload = wire.parse_frame(data, limit)
        return {"kind": kind, "payload": payload}

    return decode, lambda v: wire.frame(v["kind"], v["payload"])


CODECS = {
    "frame_of_client": frames(wire.CLIENT_FRAME_BYTES_MAX),
    "frame_of_replica": frames(wire.REPLICA_FRAME_BYTES_MAX),
    "kv_operation": (kv.decode_operation, kv.encode_operation),
    "kv_result": (kv.decode_result, kv.encode_result),
}
for _name in ("hello", "request", "reply", "fetch", "state_want", "state_item", "batch"):
    CODECS[_name] = (getattr(wire, "decode_" + _name), getattr(wire, "encode_" + _name))
for _name in ("manifest", "kv_page", "session_page"):
    CODECS[_name] = (getattr(state, "decode_" + _name), getattr(state, "encode_" + _name))
for _name in pbft.KINDS:
    CODECS[_name] = (lambda data, name=_name: GROUP.decode(name, data), lambda v, name=_name: pbft.encode(name, v))


class Vectors(unittest.TestCase):
    def files(self):
        names = sorted(n for n in os.listdir(FOLDER) if n.endswith(".json"))
        self.assertEqual(len(names), 7)
        return [(n, read(n)) for n in names]

    def test_values_and_bytes(self):
        """encode(value) is the hex, decode(hex) is the value, and nothing shorter or longer decodes."""
        seen = set()
        for name, f in self.files():
            for v in f.get("vectors", []):
                with self.subTest(file=name, type=v["type"], name=v["name"]):
                    decode, encode = CODECS[v["type"]]
                    data, want = unhex(v["hex"]), value(v["value"])
                    self.assertEqual(encode(want), data)
                    self.assertEqual(decode(data), want)
                    with self.assertRaises(wire.Malformed):
                        decode(data + b"\0")
                    for n in range(0, len(data), 1 + len(data) // 500):
                        with self.assertRaises(wire.Malformed):
                            decode(data[:n])
                    seen.add(v["type"])
        self.assertEqual(seen, set(CODECS))

    def test_refused(self):
        count = 0
        for name, f in self.files():
            for v in f.get("refused", []):
                with self.subTest(file=name, type=v["type"], name=v["name"]):
                    with self.assertRaises(wire.Malformed):
                        CODECS[v["type"]][0](unhex(v["hex"]))
                    count += 1
        self.assertGreater(count, 50)

    def test_digests(self):
        tags = set()
        for name, f in self.files():
            for d in f.get("digests", []):
                with self.subTest(file=name, name=d["name"]):
                    self.assertEqual(wire.digest(d["tag"], unhex(d["bytes"])).hex(), d["digest"])
                    tags.add(d["tag"])
        self.assertEqual(tags, {"batch", "request", "membership", "page", "checkpoint", "seed"})

    def test_signed(self):
        """Tags are made of their parts, signatures of seeds, and both verify."""
        kinds = set()
        for name, f in self.files():
            for s in f.get("signed", []):
                with self.subTest(file=name, name=s["name"]):
                    tag, body = unhex(s["tag"]), unhex(s["body"])
                    made = wire.tag(s["protocol"], MEMBERSHIP["cluster"], MEMBERSHIP["epoch"], s["kind"], unhex(s["sender"]))
                    self.assertEqual(made, tag)
                    key = keys.Key.from_seed(unhex(s["seed"]))
                    self.assertEqual(key.id.hex(), s["public"])
                    self.assertEqual(key.sign(tag + body).hex(), s["signature"])
                    self.assertTrue(keys.verify_ed25519(key.id, tag + body, unhex(s["signature"])))
                    self.assertFalse(keys.verify_ed25519(key.id, tag + body + b"\0", unhex(s["signature"])))
                    kinds.add(s["kind"])
        self.assertEqual(kinds, {2, 36, 37, 38})

    def test_verified(self):
        """Each scheme accepts and refuses what the file says."""
        schemes = set()
        for v in read("signatures.json")["verified"]:
            with self.subTest(scheme=v["scheme"], name=v["name"]):
                message, signature = unhex(v["message"]), unhex(v["signature"])
                if v["scheme"] == "ed25519":
                    good = keys.verify_ed25519(unhex(v["public"]), message, signature)
                    self.assertEqual(zip215.verify(unhex(v["public"]), message, signature), good)
                else:
                    good = keys.verify(unhex(v["public"]), message, signature)
                self.assertEqual(good, v["accepted"])
                schemes.add((v["scheme"], v["accepted"]))
        self.assertEqual(len(schemes), 6)

    def test_checked(self):
        """The stateless checks of PBFT accept and refuse what the file says, for its reasons."""
        for c in read("pbft.json")["checked"]:
            with self.subTest(type=c["type"], name=c["name"]):
                self.assertEqual(GROUP.refuses(c["type"], c["from"], GROUP.decode(c["type"], unhex(c["hex"]))), c["refuse"])

    def test_keys(self):
        extra = read("keys.json")["extra"]
        for k in extra["replicas"] + [extra["listed_client"], extra["unlisted_client"]]:
            key = keys.Key.from_seed(unhex(k["seed"]))
            self.assertEqual((key.pkix.hex(), key.id.hex()), (k["pkix"], k["id"]))
        pinned = keys.certificate_key(unhex(extra["certificate_of_replica_0"]))
        self.assertEqual(pinned, MEMBERSHIP["replicas"][0])

    def test_membership(self):
        """The bytes of the membership are those whose digest the manifest holds."""
        d = read("keys.json")["digests"][0]
        self.assertEqual(wire.encode_membership(MEMBERSHIP).hex(), d["bytes"])
        manifest = read("state.json")["vectors"][0]["value"]
        self.assertEqual(manifest["membership"], d["digest"])

    def test_checkpoint(self):
        """Pages hash to what the manifest lists, at the place it lists them, and it to the checkpoint."""
        f = read("state.json")
        manifest, pages, sessions = None, {}, []
        for v in f["vectors"]:
            data = unhex(v["hex"])
            if v["type"] == "manifest":
                manifest = data
            elif v["type"] == "kv_page":
                pages[state.decode_kv_page(data)["page"]] = data
            else:
                sessions.append(data)
        app = [wire.digest("page", pages.get(i, bytes(4))) for i in range(state.KV_PAGES)]
        table = [wire.digest("page", p) for p in sessions]
        listed = state.decode_manifest(manifest)
        self.assertEqual([d for n, d in listed["app"] for _ in range(n)], app)
        self.assertEqual([d for n, d in listed["sessions"] for _ in range(n)], table)
        self.assertEqual(state.checkpoint_digest(manifest).hex(), f["digests"][0]["digest"])


if __name__ == "__main__":
    unittest.main()
