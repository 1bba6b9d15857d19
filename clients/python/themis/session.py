"""A session with a cluster: docs/wire.md, "Sessions".

Session is pure: time is an argument, links are somebody else's, and what it wants to send stands
in `out`. Client (client.py) drives it over real links. Nothing here believes a single replica:
answers, views and the end of a session count when f+1 distinct replicas say the same.
"""

from . import wire


class NoQuorum(Exception):
    """The operation was never sent. It was not and will not be executed."""


class OutcomeUnknown(Exception):
    """The operation was sent and not answered: executed once, or will be, or never."""


class Refused(Exception):
    """The cluster admits no session of this client."""


class ResultDropped(Exception):
    """Executed exactly once; the replicas no longer hold the result."""


class TooLarge(Exception):
    """The operation has more than 65,536 bytes."""


TIMEOUT, TIMEOUT_MAX = 0.2, 2.0  # before the first resend, and where doubling ends


class Call:
    """One operation of the caller: its end is `result` or `error`."""

    def __init__(self, op, deadline):
        self.op, self.deadline = op, deadline
        self.result = self.error = None

    @property
    def ended(self):
        return self.result is not None or self.error is not None


class Envelope:
    """One signed request under way: an OPEN, or one operation."""

    def __init__(self, number, payload, call):
        self.number, self.payload, self.call = number, payload, call
        self.votes = {}  # replica: (status, result), the last of each
        self.first = None  # which replica got it alone
        self.retried, self.timeout, self.due = False, TIMEOUT, 0.0


class Session:
    def __init__(self, cluster, key, random, clock=0.0):
        """clock is the time of day, in seconds since 1970, when the caller's `now` is 0."""
        self.cluster, self.key, self.random, self.clock = cluster, key, random, clock
        self.n, self.weak = cluster.n, cluster.f + 1
        self.tag = wire.client_tag(cluster.cluster, cluster.epoch, key.id)
        self.up = set()
        self.views = [0] * self.n  # highest view that each replica claimed
        self.view = 0  # f+1 claim to be there or beyond
        self.astray = False  # its primary kept silent, and not all but f are there
        self.number = 0  # of the session; 0: none is open
        self.highest = 0  # of all sessions held: a new one is above
        self.opening = None  # the OPEN under way
        self.open_at = 0.0  # no OPEN before
        self.pending = {}  # number: Envelope, sent and not answered
        self.done = self.next = 1
        self.queue = []  # calls that were not sent
        self.out = []  # (set of replicas, frame)
        self.deviations = [0] * self.n  # answers that differed from the accepted one

    # Inputs.

    def submit(self, op, deadline, now):
        if len(op) > wire.OP_BYTES_MAX:
            raise TooLarge("%d bytes, at most %d" % (len(op), wire.OP_BYTES_MAX))
        call = Call(op, deadline)
        self.queue.append(call)
        self.flush(now)
        return call

    def link_up(self, replica, now):
        self.up.add(replica)
        for e in self.envelopes():
            if e.retried:
                self.out.append(({replica}, self.retry_frame(e)))
        self.flush(now)

    def link_down(self, replica, now):
        self.up.discard(replica)
        to_primary = replica == self.primary()
        for e in self.envelopes():
            if to_primary or replica == e.first and not e.retried:
                self.resend(e, now)

    def reply(self, replica, r, now):
        """A reply of a replica, which is known from the link and from nothing in the reply."""
        e = self.opening if r["session"] == 0 else self.pending.get(r["number"]) if r["session"] == self.number else None
        if e is not None and e.number == r["number"]:
            e.votes[replica] = (r["status"], r["result"])
            won = self.winner(e)
            if won is not None:
                self.deviate(e, won)
                self.accept(e, won, now)
            elif not e.retried and len(e.votes) == self.n:
                self.resend(e, now)
        if self.hint(replica, r["view"]):
            for e in self.envelopes():
                if not e.retried:
                    self.resend(e, now)
        self.flush(now)

    def tick(self, now):
        """Ends what is over its deadline and sends again what was not answered in time."""
        for call in [c for c in self.queue if c.deadline <= now]:
            self.queue.remove(call)
            call.error = NoQuorum("no session could be opened, the operation was not sent")
        for e in self.envelopes():
            if e.call is not None and not e.call.ended and e.call.deadline <= now:
                # The number stays unfinished and is asked for again: only its answer moves `done`.
                e.call.error = OutcomeUnknown("f+1 replicas did not agree on an answer in time")
            if e.due <= now:
                if e.first == self.primary() and not e.retried and not e.votes:
                    self.astray = not self.astray and self.settled() < self.view
                self.resend(e, now)
        self.flush(now)

    def wake(self):
        """When the next tick is due."""
        times = [c.deadline for c in self.queue] + [e.due for e in self.envelopes()]
        times += [e.call.deadline for e in self.pending.values() if not e.call.ended]
        if self.queue and not self.number and self.opening is None:
            times.append(self.open_at)
        return min(times, default=None)

    # The vote.

    def winner(self, e):
        votes = list(e.votes.values())
        return next((v for v in votes if votes.count(v) >= self.weak), None)

    def hint(self, replica, view):
        """Follows the view that f+1 replicas claim; reports whether that moved it."""
        self.views[replica] = max(self.views[replica], view)
        agreed = sorted(self.views)[-self.weak]
        moved, self.view = agreed > self.view, max(agreed, self.view)
        self.astray = self.astray and not moved
        return moved

    def settled(self):
        """The view that all but f replicas claim to have reached."""
        return sorted(self.views)[self.weak - 1]

    def deviate(self, e, won):
        for replica, vote in e.votes.items():
            if vote != won and vote[0] == won[0] == wire.OK:
                self.deviations[replica] += 1

    def accept(self, e, won, now):
        status, result = won
        if e is self.opening:
            self.opening = None
            self.opened(status, result, now)
            return
        del self.pending[e.number]
        while self.done < self.next and self.done not in self.pending:
            self.done += 1
        if not e.call.ended:
            if status == wire.OK:
                e.call.result = result
            elif status == wire.DROPPED:
                e.call.error = ResultDropped("executed, but the result is no longer held")
            elif status == wire.REFUSED:
                e.call.error = Refused("the cluster does not admit this client")
            elif status == wire.CLOSED:
                e.call.error = OutcomeUnknown("the replicas closed the session before it was answered")
            else:
                e.call.error = OutcomeUnknown("the replicas find its number outside the session's window")
        if status == wire.CLOSED:
            self.closed(now)

    def opened(self, status, result, now):
        if status == wire.REFUSED:
            for call in self.queue:
                call.error = Refused("the cluster does not admit this client")
            self.queue = []
        elif status == wire.CLOSED and len(result) == 8:
            self.clock = int.from_bytes(result, "little") / 1e9 - now  # ours is wrong
        elif status == wire.OK and len(result) == 8 and int.from_bytes(result, "little") > self.highest:
            self.number = self.highest = int.from_bytes(result, "little")

    def closed(self, now):
        """f+1 replicas say that there is no such session. What was sent in it may have been
        executed before; its answers are gone. Nothing of it is repeated."""
        for e in self.pending.values():
            if not e.call.ended:
                e.call.error = OutcomeUnknown("the replicas closed the session before it was answered")
        self.pending, self.number = {}, 0
        self.done = self.next = 1

    # Sending.

    def primary(self):
        """Who gets a request first. A replica out alone and liars can name a view that nobody else is in."""
        return (self.settled() if self.astray else self.view) % self.n

    def envelopes(self):
        return ([self.opening] if self.opening else []) + list(self.pending.values())

    def flush(self, now):
        if not self.up:
            return  # nothing is numbered or signed that cannot be sent
        self.queue = [c for c in self.queue if not c.ended]
        if self.queue and not self.number and self.opening is None and now >= self.open_at:
            self.open_at = now + TIMEOUT
            nonce = wire.open_nonce(int((self.clock + now) * 1e9), self.random.getrandbits(wire.OPEN_RANDOM_BITS))
            self.opening = self.seal(nonce, 0, 0, wire.FLAG_OPEN, b"", None)
            self.resend(self.opening, now)
        while self.queue and self.number and self.next < self.done + wire.WINDOW_OPS:
            call = self.queue.pop(0)
            e = self.seal(self.next, self.number, self.done, 0, call.op, call)
            self.pending[self.next] = e
            self.next += 1
            if self.primary() in self.up:
                e.first = self.primary()
                self.out.append(({e.first}, wire.frame(wire.REQUEST, e.payload)))
                self.arm(e, TIMEOUT, now)
            else:
                self.resend(e, now)

    def seal(self, number, session, done, flags, op, call):
        """Signs a request, once: what is sent again is the same, byte for byte."""
        r = {"client": self.key.id, "session": session, "first": number, "done": done, "flags": flags, "ops": [op]}
        r["answer"] = (1 << self.n) - 1
        r["sig"] = self.key.sign(self.tag + wire.encode_unsigned_request(r))
        return Envelope(number, wire.encode_request(r), call)

    def retry_frame(self, e):
        return wire.frame(wire.RETRY, e.payload)

    def resend(self, e, now):
        """RETRY to everybody; the next one comes later, and not at the instant of all clients."""
        if self.up:
            self.out.append((set(self.up), self.retry_frame(e)))
        self.arm(e, min(2 * e.timeout, TIMEOUT_MAX) if e.retried else TIMEOUT, now)
        e.retried = True

    def arm(self, e, timeout, now):
        e.timeout = timeout
        e.due = now + timeout * (1 - self.random.random() / 4)
