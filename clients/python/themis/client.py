"""A client over real links: one link per replica, one loop that owns the session."""

import asyncio
import random
import time

from . import link, session, wire

REDIAL_MIN, REDIAL_MAX = 0.02, 1.0
STEADY_SECONDS = 5


class Client:
    """Use it as: async with Client(cluster, key) as c: result = await c.invoke(op)."""

    def __init__(self, cluster, key):
        self.cluster, self.key = cluster, key
        self.session = session.Session(cluster, key, random.SystemRandom(), time.time() - time.monotonic())
        self.links = {}
        self.last = [""] * cluster.n  # why the last link to each replica ended or was not made
        self.waiting = []  # (call, future)
        self.changed = asyncio.Event()

    async def __aenter__(self):
        tls = link.context(self.key)
        self.tasks = [asyncio.create_task(self.route(i, tls)) for i in range(self.cluster.n)]
        self.tasks.append(asyncio.create_task(self.loop()))
        return self

    async def __aexit__(self, *_):
        for t in self.tasks:
            t.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def invoke(self, op, timeout=10.0):
        """Executes an operation: its result, or NoQuorum, OutcomeUnknown, Refused, ResultDropped."""
        now = time.monotonic()
        call = self.session.submit(op, now + timeout, now)
        done = asyncio.get_running_loop().create_future()
        self.waiting.append((call, done))
        self.deliver()
        return await done

    async def loop(self):
        while True:
            self.changed.clear()
            wake = self.session.wake()
            pause = None if wake is None else max(0.0, wake - time.monotonic())
            try:
                async with asyncio.timeout(pause):  # wait_for of Python 3.11 may swallow a cancellation
                    await self.changed.wait()
            except TimeoutError:
                self.session.tick(time.monotonic())
                self.deliver()

    def deliver(self):
        """Sends what the session wants sent, and hands ends to who waits for them."""
        for to, frame in self.session.out:
            for i in to:
                if i in self.links:
                    self.links[i].send(frame)
        self.session.out.clear()
        for call, done in [w for w in self.waiting if w[0].ended]:
            self.waiting.remove((call, done))
            if done.cancelled():
                continue
            if call.error is not None:
                done.set_exception(call.error)
            else:
                done.set_result(call.result)
        self.changed.set()

    async def route(self, i, tls):
        """Keeps a link to replica i: dials, reads, and dials again."""
        pause = REDIAL_MIN
        while True:
            began = time.monotonic()
            try:
                await self.once(i, tls)
            except (OSError, EOFError, ValueError, TimeoutError, link.LinkError, wire.Malformed) as e:
                self.last[i] = str(e) or type(e).__name__
            if time.monotonic() - began > STEADY_SECONDS:
                pause = REDIAL_MIN
            await asyncio.sleep(pause * (1 - random.random() / 2))
            pause = min(2 * pause, REDIAL_MAX)

    async def once(self, i, tls):
        c = await link.dial(self.cluster.addresses[i], tls, self.cluster.keys[i], self.cluster.hello())
        self.links[i] = c
        try:
            self.session.link_up(i, time.monotonic())
            self.deliver()
            while True:
                kind, payload = await c.receive()
                if kind != wire.REPLY:
                    raise link.LinkError("a frame of kind %d where only replies belong" % kind)
                self.session.reply(i, wire.decode_reply(payload), time.monotonic())
                self.deliver()
        finally:
            del self.links[i]
            c.close()
            self.session.link_down(i, time.monotonic())
            self.deliver()
