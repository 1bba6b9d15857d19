"""Writes, changes and reads a key in one session, and fails if an answer is not the right one.

Called by the tests that start clusters: python3 -m tests.round_trip DIR KEY
"""

import asyncio
import sys

from themis import client, cluster, keys, kv


async def main(directory, key):
    steps = [
        (kv.put(key, b"one"), {"code": kv.DONE}),
        (kv.cas(key, b"one", b"two"), {"code": kv.DONE}),
        (kv.cas(key, b"one", b"three"), {"code": kv.MISMATCH, "present": True, "value": b"two"}),
        (kv.get(key), {"code": kv.FOUND, "value": b"two"}),
    ]
    async with client.Client(cluster.load(directory), keys.Key.new()) as c:
        for _ in range(50):  # who lies is heard only when there is a link to him; who is down has none
            if len(c.links) < c.cluster.n:
                await asyncio.sleep(0.01)
        for op, want in steps:
            got = kv.decode_result(await c.invoke(op, 30))
            if got != want:
                sys.exit("%r is answered with %r, not with %r" % (op, got, want))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2].encode()))
