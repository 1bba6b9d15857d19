#!/usr/bin/env python3
"""Reads and writes the replicated key-value store of a Themis cluster.

Exit codes: 0 done, 1 failed or missing, 2 usage, 3 no quorum. What goes wrong is said on standard
error, with the next command to run.
"""

import argparse
import asyncio
import os
import sys

try:
    from themis import client, cluster, keys, kv, session, wire
except ImportError as missing:
    sys.exit("%s: the package %s is missing\n  hint: install it, such as with: scripts/need-python" % (sys.argv[0], missing.name))

FAILED, USAGE, NO_QUORUM = 1, 2, 3


class Failure(Exception):
    def __init__(self, code, what, hint=""):
        super().__init__(what)
        self.code, self.hint = code, hint


def arguments():
    p = argparse.ArgumentParser(prog="themis_kv.py", description="Read and write the replicated key-value store")
    p.add_argument("--dir", default="themis-dev", help="directory of the cluster, as themis cluster up and themis init make it")
    p.add_argument("--cluster", help="public file of the cluster, instead of --dir")
    p.add_argument("--key", dest="key_file", metavar="FILE", help="private key file of this client; none: a new key (open clusters)")
    p.add_argument("--timeout", type=float, default=10.0, help="seconds after which to give up")
    verbs = p.add_subparsers(dest="verb", required=True, metavar="put | get | cas | del")
    for verb, names, text in (
        ("put", ("key", "value"), "set a key"),
        ("get", ("key",), "print the value of a key; exit code 1 if there is none"),
        ("cas", ("key", "old", "new"), "set a key if its value is OLD; exit code 1 if it is not"),
        ("del", ("key",), "remove a key; exit code 1 if there is none"),
    ):
        v = verbs.add_parser(verb, help=text)
        for name in names:
            v.add_argument("key_name" if name == "key" else name, type=os.fsencode, metavar=name.upper())
    return p.parse_args()


def operation(a):
    if a.verb == "put":
        return kv.put(a.key_name, a.value)
    if a.verb == "get":
        return kv.get(a.key_name)
    if a.verb == "del":
        return kv.delete(a.key_name)
    return kv.cas(a.key_name, a.old, a.new)


def identity(a, c):
    if a.key_file:
        try:
            key = keys.Key.load(a.key_file)
        except (OSError, ValueError, TypeError) as e:
            raise Failure(FAILED, "reading %s: %s" % (a.key_file, e), "make a key with: themis keygen FILE") from e
        if not c.admits(key):
            raise Failure(FAILED, "%s does not list the client of %s" % (c.path, a.key_file), "name the key of a listed client with --key FILE")
        return key
    if not c.open:
        raise Failure(FAILED, "%s: the cluster admits listed clients only" % c.path, "name the key of one with --key FILE")
    return keys.Key.new()


async def invoke(a, c, key, op):
    async with client.Client(c, key) as s:
        try:
            return await s.invoke(op, a.timeout)
        except (session.NoQuorum, session.OutcomeUnknown) as e:
            unlinked = "; ".join("r%d: %s" % (i, s.last[i] or "no link yet") for i in range(c.n) if i not in s.links)
            where = "replicas that run: themis cluster status --dir %s" % a.dir
            if isinstance(e, session.OutcomeUnknown):
                where = "it may have been executed or may still be; read the state before you repeat it; " + where
            raise Failure(NO_QUORUM, "%s%s" % (e, " (%s)" % unlinked if unlinked else ""), where) from e
        except session.Refused as e:
            raise Failure(FAILED, str(e), "list the client's public key in cluster.toml, or name another key with --key") from e
        except session.TooLarge as e:
            raise Failure(FAILED, "operation too large: %s" % e, "a key has at most 1,024 bytes, a value 30,720") from e
        except session.ResultDropped as e:
            raise Failure(FAILED, str(e), "read the state") from e


def run(a):
    c = cluster.Cluster(a.cluster) if a.cluster else cluster.load(a.dir)
    if c.membership["app"] != "kv":
        raise Failure(FAILED, "%s: the cluster runs %s, not kv" % (c.path, c.membership["app"]), "use: themis call")
    try:
        r = kv.decode_result(asyncio.run(invoke(a, c, identity(a, c), operation(a))))
    except wire.Malformed as e:
        raise Failure(FAILED, "the replicas answer what is no result of the store: %s" % e, "see which application runs: %s" % c.path) from e
    code = r["code"]
    if code == kv.FOUND:
        sys.stdout.buffer.write(r["value"] + b"\n")
        sys.stdout.flush()
    elif code == kv.MISSING or code == kv.MISMATCH and not r["present"]:
        raise Failure(FAILED, "there is no key %r" % os.fsdecode(a.key_name))
    elif code == kv.MISMATCH:
        raise Failure(FAILED, "key %r has another value: %r" % (os.fsdecode(a.key_name), os.fsdecode(r["value"])))
    elif code != kv.DONE:
        raise Failure(FAILED, "the store answers: %s" % kv.NAMES[code], "a key has at most 1,024 bytes, a value 30,720; delete what is not needed")


def main():
    a = arguments()
    try:
        run(a)
    except (Failure, cluster.ClusterError) as e:
        print("themis_kv.py: %s%s" % (e, "\n  hint: " + e.hint if e.hint else ""), file=sys.stderr)
        sys.exit(getattr(e, "code", FAILED))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
