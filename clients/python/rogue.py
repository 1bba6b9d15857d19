#!/usr/bin/env python3
"""A replica that misbehaves, for tests: it takes the place of one replica of a local cluster, with
its key and its addresses, and is bad in one way. It is written from docs/wire.md alone.

Python's TLS cannot ask the other end for a certificate that no authority signed. So this replica
does not know who calls it, as a replica must; for being bad it need not.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import time

from themis import cluster, keys, link, pbft, wire


class Rogue:
    """The links of a replica, and nothing on them: it is silent. The other ways override."""

    how = "silent"
    says = "links with everybody and says nothing"
    period = None  # seconds between calls of `spam`

    def __init__(self, directory, number):
        self.cluster = cluster.load(directory)
        own, self.key = cluster.replica(directory, number)
        self.me, self.n = number, self.cluster.n
        self.listen = {name: cluster.split(own["listen"][name]) for name in ("peer", "client")}
        self.dials = {p["id"]: cluster.split(p["dial"]) for p in own["peers"]}
        m = self.cluster.membership
        self.group = pbft.Group(self.n, self.cluster.f, m["checkpoint_every"], m["window"], m["cluster"], m["epoch"], m["protocol"], self.verify)
        self.peers = {}  # links that this replica dialled and sends on
        self.clients = set()  # links of clients
        self.view, self.slot = 0, 0  # the highest that others spoke of
        self.requests = {}  # by client, session and number: the encoding

    def verify(self, replica, message, signature):
        return keys.verify_ed25519(self.cluster.keys[replica][-32:], message, signature)

    # What the ways override.

    def from_client(self, to, request, raw):
        pass

    def from_peer(self, kind, payload):
        pass

    def spam(self):
        pass

    # What they use.

    def send(self, frame, to=None):
        for i in self.peers if to is None else to:
            if i in self.peers:
                self.peers[i].send(frame)

    def message(self, name, value):
        return wire.frame(pbft.KINDS[name], pbft.encode(name, value))

    def signed(self, name, value):
        value["replica"] = self.me
        value["sig"] = self.key.sign(self.group.signed_bytes(name, value))
        return value

    def status(self, view, committed):
        return {"view": view, "active": True, "stable": 0, "committed": committed, "open": committed, "accepted": 0, "prepared": 0, "view_changes": 0}

    def own_view(self):
        """The next view whose primary is this replica."""
        return self.view + 1 + (self.me - self.view - 1) % self.n

    # Links.

    async def run(self):
        server, tls = link.context(self.key, server=True), link.context(self.key)
        for name, limit, serve in (("peer", wire.REPLICA_FRAME_BYTES_MAX, self.serve_peer), ("client", wire.CLIENT_FRAME_BYTES_MAX, self.serve_client)):
            await asyncio.start_server(lambda r, w, limit=limit, serve=serve: self.accepted(r, w, limit, serve), *self.listen[name], ssl=server)
        tasks = [asyncio.create_task(self.dial(i, address, tls)) for i, address in self.dials.items()]
        if self.period:
            tasks.append(asyncio.create_task(self.spamming()))
        await asyncio.gather(*tasks)

    async def spamming(self):
        while True:
            self.spam()
            await asyncio.sleep(self.period)

    async def dial(self, i, address, tls):
        first = True
        while True:
            try:
                c = await link.dial(address, tls, self.cluster.keys[i], self.cluster.hello(), wire.REPLICA_FRAME_BYTES_MAX)
            except (OSError, EOFError, TimeoutError, link.LinkError, wire.Malformed):
                await asyncio.sleep(0.05)
                continue
            self.peers[i] = c
            if first:
                print("linked to r%d" % i, flush=True)
                first = False
            try:
                await c.reader.read()  # nothing comes on this direction; its end is what is awaited
            except OSError:
                pass
            self.peers.pop(i, None)
            c.close()
            await asyncio.sleep(0.05)

    async def accepted(self, reader, writer, limit, serve):
        try:
            await serve(await link.answer(reader, writer, self.cluster.hello(), limit))
        except (OSError, EOFError, TimeoutError, link.LinkError, wire.Malformed):
            pass
        finally:
            writer.transport.abort()

    async def serve_client(self, c):
        self.clients.add(c)
        try:
            while True:
                kind, payload = await c.receive()
                if kind in (wire.REQUEST, wire.RETRY):
                    self.note(payload)
                    self.from_client(c, wire.decode_request(payload), payload)
        finally:
            self.clients.discard(c)

    async def serve_peer(self, c):
        while True:
            kind, payload = await c.receive()
            try:
                self.listen_in(kind, payload)
                self.from_peer(kind, payload)
            except wire.Malformed:
                pass

    def note(self, raw):
        r = wire.decode_request(raw)
        if len(self.requests) < 1000:
            self.requests[r["client"], r["session"], r["first"]] = raw

    def listen_in(self, kind, payload):
        """Learns what is going on from what others say."""
        if kind == wire.RELAY:
            self.note(payload)
        elif kind in (pbft.PRE_PREPARE, pbft.PREPARE, pbft.COMMIT):
            v = self.group.decode({pbft.PRE_PREPARE: "pre-prepare", pbft.PREPARE: "prepare", pbft.COMMIT: "commit"}[kind], payload)
            self.view, self.slot = max(self.view, v["view"]), max(self.slot, v["slot"])
        elif kind == pbft.STATUS:
            v = self.group.decode("status", payload)
            self.view, self.slot = max(self.view, v["view"]), max(self.slot, v["committed"])


class WrongReplies(Rogue):
    how, says = "wrong-replies", "answers clients at once and wrongly, each answer three times"

    def from_client(self, to, r, raw):
        self.lie(r, {to})

    def from_peer(self, kind, payload):
        """Who was not asked hears of requests from the primary, before they are executed. Whose links
        are whose is not known here: everybody is told, and those concerned notice."""
        if kind == pbft.PRE_PREPARE:
            for r in wire.decode_batch(self.group.decode("pre-prepare", payload)["batch"])["requests"]:
                self.lie(r, self.clients)

    def lie(self, r, to):
        lies = [(wire.OK, b"\x01\x05\x00\x00\x00a lie"), (wire.CLOSED, b""), (wire.OK, b"\x00")]
        if r["flags"] & wire.FLAG_OPEN:
            lies = [(wire.OK, wire.u64(999)), (wire.REFUSED, b""), (wire.OK, wire.u64(0))]
        for k in range(len(r["ops"])):
            status, result = random.choice(lies)
            answer = {"session": r["session"], "number": r["first"] + k, "view": wire.VIEW_MAX, "status": status, "result": result}
            for c in to:
                c.send(wire.frame(wire.REPLY, wire.encode_reply(answer)) * 3)


class BadVotes(Rogue):
    how, says = "bad-votes", "votes for another batch, and for two at once"

    def from_peer(self, kind, payload):
        if kind != pbft.PRE_PREPARE:
            return
        v = self.group.decode("pre-prepare", payload)
        good = {k: v[k] for k in ("view", "slot", "digest")}
        bad = dict(good, digest=bytes([good["digest"][0] ^ 255]) + good["digest"][1:])
        half = {i for i in self.peers if i % 2}
        for name in ("prepare", "commit"):
            self.send(self.message(name, bad))
            self.send(self.message(name, good), half)


class Equivocate(Rogue):
    how, says, period = "equivocate", "as primary proposes two batches for each slot", 0.05

    def spam(self):
        view = self.view if self.view % self.n == self.me else None
        if view is None or not self.requests or len(self.peers) < self.n - 1:
            return
        slot, raw = self.slot + 1, list(self.requests.values())[:16]
        self.requests.clear()
        now = time.time_ns()
        for side in (0, 1):
            body = wire.u64(now + side) + wire.u32(len(raw)) + b"".join(map(wire.with_length, raw))
            vote = {"view": view, "slot": slot, "digest": wire.batch_digest(body)}
            to = {i for i in self.peers if i % 2 == side}
            self.send(self.message("pre-prepare", dict(vote, batch=body)), to)
            self.send(self.message("commit", vote), to)
        self.slot = slot


class ViewSpam(Rogue):
    how, says, period = "view-spam", "asks for view after view, signed, and claims to be in the highest", 0.1
    asked = 0

    def spam(self):
        for _ in range(20):
            self.asked = max(self.asked, self.view) + 1
            none = {"slot": 0, "digest": wire.NULL_DIGEST, "endorsements": []}
            v = self.signed("view-change", {"view": self.asked, "base": none, "p": [], "q": []})
            self.send(self.message("view-change", v))
        self.send(self.message("status", self.status(wire.VIEW_MAX, self.slot)))


class FalseNewView(Rogue):
    how, says, period = "false-new-view", "presents views that follow from nothing", 0.1

    def spam(self):
        view = self.own_view()
        none = {"slot": 0, "digest": wire.NULL_DIGEST, "endorsements": []}
        mine = self.signed("view-change", {"view": view, "base": none, "p": [], "q": []})
        forged = [dict(mine, replica=i) for i in range(self.n)]
        for members in ([mine], [mine] * 3, forged, []):
            v = self.signed("new-view", {"view": view, "set": members, "start": self.slot, "choices": [os.urandom(32)]})
            self.send(self.message("new-view", v))
        other = self.signed("new-view", {"view": view + 1, "set": [], "start": 0, "choices": []})
        self.send(self.message("new-view", other))


class FalseCheckpoint(Rogue):
    how, says, period = "false-checkpoint", "signs other states than the others have, and serves them", 0.1

    def spam(self):
        every = self.group.every
        for slot in {every, self.slot // every * every, (self.slot // every + 1) * every} - {0}:
            v = self.signed("checkpoint", {"slot": slot, "digest": os.urandom(32)})
            self.send(self.message("checkpoint", v))
            ends = [{"replica": i, "sig": v["sig"]} for i in range(self.group.quorum)]
            self.send(self.message("stable", {"slot": slot, "digest": v["digest"], "endorsements": ends}))
        self.send(self.message("decided", {"first": self.slot + 1, "digests": [os.urandom(32) for _ in range(32)]}))
        self.send(self.message("status", self.status(self.view, self.slot + 10 * every)))

    def from_peer(self, kind, payload):
        if kind == wire.FETCH:
            self.send(wire.frame(wire.BODY, os.urandom(200)))
        elif kind == wire.STATE_WANT:
            w = wire.decode_state_want(payload)
            data = os.urandom(100)
            self.send(wire.frame(wire.STATE_ITEM, wire.encode_state_item(dict(w, total=w["offset"] + 100, bytes=data))))


class Future(Rogue):
    how, says, period = "future", "votes for slots and views far ahead", 0.1

    def spam(self):
        for _ in range(10):
            vote = {"view": self.view + random.randrange(3), "slot": self.slot + random.randrange(1, 1 << 40), "digest": os.urandom(32)}
            if random.random() < 0.1:
                vote.update(view=wire.VIEW_MAX, slot=wire.SLOT_MAX)
            for name in ("prepare", "commit"):
                self.send(self.message(name, vote))
            body = b"".join([wire.u64(time.time_ns()), wire.u32(1), wire.with_length(next(iter(self.requests.values()), b""))])
            self.send(self.message("pre-prepare", dict(vote, view=self.own_view(), batch=body)))


class Replay(Rogue):
    how, says = "replay", "sends everybody what it heard from anybody, in its own name"

    def from_peer(self, kind, payload):
        self.send(wire.frame(kind, payload))


class Garbage(Rogue):
    how, says, period = "garbage", "sends bytes that mean nothing, and lengths that lie", 0.1

    def spam(self):
        for _ in range(20):
            self.send(wire.frame(random.choice([2, 3, 4, 5, 6, 7, 8, 9, 99, *range(32, 41)]), os.urandom(random.randrange(200))))
        vote = pbft.encode("prepare", {"view": self.view, "slot": self.slot + 1, "digest": os.urandom(32)})
        for cut in (vote[:-1], vote + b"\0", b""):
            self.send(wire.frame(pbft.PREPARE, cut))
        counts = wire.u64(1) + wire.u16(self.me) + wire.u64(0) + bytes(32) + wire.u16(65535) * 3
        self.send(wire.frame(pbft.VIEW_CHANGE, counts) + wire.frame(pbft.NEW_VIEW, counts))
        if random.random() < 0.2:  # each of these ends the link
            self.send(random.choice([bytes(5), b"\xff" * 9, wire.u32(wire.REPLICA_FRAME_BYTES_MAX + 1) + b"\x20", wire.frame(wire.HELLO, b"")]))


WAYS = {c.how: c for c in (Rogue, WrongReplies, BadVotes, Equivocate, ViewSpam, FalseNewView, FalseCheckpoint, Future, Replay, Garbage)}


async def main():
    p = argparse.ArgumentParser(description="A replica that misbehaves, for tests.")
    p.add_argument("--dir", required=True, help="directory of the cluster")
    p.add_argument("--replica", type=int, required=True, help="whose place to take; it must not run")
    ways = "; ".join("%s: %s" % (h, c.says) for h, c in WAYS.items())
    p.add_argument("--how", choices=WAYS, required=True, help=ways)
    a = p.parse_args()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    for s in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(s, task.cancel)
    try:
        rogue = WAYS[a.how](a.dir, a.replica)
    except (cluster.ClusterError, OSError, KeyError) as e:
        sys.exit("rogue.py: %s\n  hint: make a cluster with: themis cluster up --dir %s" % (e, a.dir))
    try:
        await rogue.run()
    except asyncio.CancelledError:
        pass


if __name__ == "__main__":
    asyncio.run(main())
