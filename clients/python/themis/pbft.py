"""Messages of PBFT: docs/wire.md, "PBFT". Bytes, and the checks that need no state."""

from .wire import (
    BATCH_BYTES_MAX, NULL_DIGEST, Malformed, Reader, boolean, check, tag, u16, u64, with_length, with_sig_length,
)

PRE_PREPARE, PREPARE, COMMIT, STATUS, CHECKPOINT, VIEW_CHANGE, NEW_VIEW, DECIDED, STABLE = range(32, 41)

KINDS = {
    "pre-prepare": PRE_PREPARE, "prepare": PREPARE, "commit": COMMIT, "status": STATUS, "checkpoint": CHECKPOINT,
    "view-change": VIEW_CHANGE, "new-view": NEW_VIEW, "decided": DECIDED, "stable": STABLE,
}

CLAIM_BYTES = 48
DIGESTS_PER_SLOT_MAX = 22
DECIDED_MAX = 32
FRAME_BYTES_MAX = 8 << 20


def encode_vote(v):
    return u64(v["view"]) + u64(v["slot"]) + v["digest"]


def read_vote(r):
    v = {"view": r.view(), "slot": r.slot()}
    check(v["slot"] != 0, "slot 0")
    v["digest"] = r.take(32)
    return v


def encode_pre_prepare(v):
    return encode_vote(v) + with_length(v["batch"])


def encode_status(v):
    out = u64(v["view"]) + boolean(v["active"])
    for name in ("stable", "committed", "open", "accepted", "prepared", "view_changes"):
        out += u64(v[name])
    return out


def unsigned_checkpoint(v):
    return u64(v["slot"]) + v["digest"] + u16(v["replica"])


def encode_stable(v):
    ends = b"".join(u16(e["replica"]) + with_sig_length(e["sig"]) for e in v["endorsements"])
    return u64(v["slot"]) + v["digest"] + u16(len(v["endorsements"])) + ends


def unsigned_view_change(v):
    out = u64(v["view"]) + u16(v["replica"]) + encode_stable(v["base"])
    for name in ("p", "q"):
        out += u16(len(v[name])) + b"".join(map(encode_vote, v[name]))
    return out


def unsigned_new_view(v):
    out = u64(v["view"]) + u16(v["replica"]) + u16(len(v["set"])) + b"".join(map(encode_signed(unsigned_view_change), v["set"]))
    return out + u64(v["start"]) + u16(len(v["choices"])) + b"".join(v["choices"])


def encode_decided(v):
    return u64(v["first"]) + u16(len(v["digests"])) + b"".join(v["digests"])


def encode_signed(unsigned):
    return lambda v: unsigned(v) + with_sig_length(v["sig"])


UNSIGNED = {"checkpoint": unsigned_checkpoint, "view-change": unsigned_view_change, "new-view": unsigned_new_view}

ENCODERS = {
    "pre-prepare": encode_pre_prepare, "prepare": encode_vote, "commit": encode_vote, "status": encode_status,
    "checkpoint": encode_signed(unsigned_checkpoint), "view-change": encode_signed(unsigned_view_change),
    "new-view": encode_signed(unsigned_new_view), "decided": encode_decided, "stable": encode_stable,
}


def encode(name, value):
    return ENCODERS[name](value)


class Group:
    """What the limits and checks of messages depend on: n, f, K, L, and who verifies."""

    def __init__(self, n, f, every, window, cluster=b"", epoch=0, protocol="pbft", verify=None):
        self.n, self.f, self.every, self.window = n, f, every, window
        self.cluster, self.epoch, self.protocol, self.verify = cluster, epoch, protocol, verify

    @property
    def quorum(self):
        return (self.n + self.f) // 2 + 1

    @property
    def weak(self):
        return self.f + 1

    def primary(self, view):
        return view % self.n

    def claims_max(self):
        """How many claims P and Q of one VIEW-CHANGE hold together."""
        head = 128 + 512
        share = (FRAME_BYTES_MAX - 1 - 32 * self.window - head) // self.n - head - (4 + 512) * self.quorum
        return min(share // CLAIM_BYTES, self.window * (1 + DIGESTS_PER_SLOT_MAX))

    def signed_bytes(self, name, value):
        """The byte string that the signature of a message covers."""
        return tag(self.protocol, self.cluster, self.epoch, KINDS[name], u16(value["replica"])) + UNSIGNED[name](value)

    # Decoding.

    def decode(self, name, data):
        r = Reader(data)
        value = getattr(self, "read_" + name.replace("-", "_"))(r)
        r.end()
        return value

    def read_pre_prepare(self, r):
        v = read_vote(r)
        v["batch"] = r.bytes(BATCH_BYTES_MAX)
        return v

    def read_prepare(self, r):
        return read_vote(r)

    def read_commit(self, r):
        return read_vote(r)

    def read_status(self, r):
        v = {"view": r.view(), "active": r.bool(), "stable": r.slot(), "committed": r.slot(), "open": r.slot()}
        v.update(accepted=r.u64(), prepared=r.u64(), view_changes=r.u64())
        return v

    def read_checkpoint(self, r):
        return {"slot": r.slot(), "digest": r.take(32), "replica": r.u16(), "sig": r.sig()}

    def read_stable(self, r):
        v = {"slot": r.slot(), "digest": r.take(32)}
        v["endorsements"] = [{"replica": r.u16(), "sig": r.sig()} for _ in range(r.count(self.n, 4))]
        return v

    def read_claims(self, r, limit):
        return [read_vote(r) for _ in range(r.count(limit, CLAIM_BYTES))]

    def read_view_change(self, r):
        v = {"view": r.view(), "replica": r.u16(), "base": self.read_stable(r)}
        v["p"] = self.read_claims(r, self.window)
        v["q"] = self.read_claims(r, self.window * DIGESTS_PER_SLOT_MAX)
        v["sig"] = r.sig()
        return v

    def read_new_view(self, r):
        v = {"view": r.view(), "replica": r.u16()}
        v["set"] = [self.read_view_change(r) for _ in range(r.count(self.n, 64))]
        v["start"] = r.slot()
        v["choices"] = [r.take(32) for _ in range(r.count(self.window, 32))]
        v["sig"] = r.sig()
        return v

    def read_decided(self, r):
        v = {"first": r.slot()}
        v["digests"] = [r.take(32) for _ in range(r.count(DECIDED_MAX, 32))]
        check(v["first"] != 0 and v["digests"], "nothing decided")
        return v

    # Checks: what replica `sender` sent on its link. "" accepts.

    def refuses(self, name, sender, v):
        rule = getattr(self, "check_" + name.replace("-", "_"), None)
        return rule(sender, v) if rule else ""

    def check_pre_prepare(self, sender, v):
        if sender != self.primary(v["view"]):
            return "wrong-sender"
        return "bad-digest" if v["digest"] == NULL_DIGEST or not v["batch"] else ""

    def check_prepare(self, sender, v):
        return "wrong-sender" if sender == self.primary(v["view"]) else ""

    def signature(self, name, v):
        return "" if self.verify(v["replica"], self.signed_bytes(name, v), v["sig"]) else "bad-signature"

    def check_checkpoint(self, sender, v):
        if v["replica"] != sender:
            return "wrong-sender"
        if v["slot"] == 0 or v["slot"] % self.every or v["replica"] >= self.n:
            return "limit"
        return self.signature("checkpoint", v)

    def check_stable(self, sender, v):
        return "bad-proof" if v["slot"] == 0 else self.proof(v)

    def proof(self, v):
        ends = v["endorsements"]
        if v["slot"] == 0:
            return "bad-proof" if ends or v["digest"] != NULL_DIGEST else ""
        if v["slot"] % self.every or len(ends) != self.quorum:
            return "bad-proof"
        last = -1
        for e in ends:
            if e["replica"] >= self.n or e["replica"] <= last:
                return "bad-proof"
            last = e["replica"]
            claim = {"slot": v["slot"], "digest": v["digest"], "replica": e["replica"], "sig": e["sig"]}
            if self.signature("checkpoint", claim):
                return "bad-signature"
        return ""

    def check_view_change(self, sender, v):
        return "wrong-sender" if v["replica"] != sender else self.view_change(v)

    def view_change(self, v):
        if v["view"] == 0 or v["replica"] >= self.n:
            return "limit"
        if not self.canonical(v):
            return "bad-proof"
        return self.signature("view-change", v) or self.proof(v["base"])

    def canonical(self, v):
        low = v["base"]["slot"]
        claims = v["p"] + v["q"]
        if len(claims) > self.claims_max():
            return False
        if any(not (low < c["slot"] <= low + self.window and c["view"] < v["view"]) for c in claims):
            return False
        p = [c["slot"] for c in v["p"]]
        q = [(c["slot"], c["digest"]) for c in v["q"]]
        rising = all(a < b for a, b in zip(p, p[1:])) and all(a < b for a, b in zip(q, q[1:]))
        slots = [n for n, _ in q]
        return rising and all(slots.count(n) <= DIGESTS_PER_SLOT_MAX for n in set(slots))

    def check_new_view(self, sender, v):
        if v["view"] == 0 or v["replica"] != self.primary(v["view"]):
            return "wrong-sender"
        wrong = self.signature("new-view", v)
        last = -1
        for m in v["set"]:
            if wrong:
                break
            if m["replica"] >= self.n or m["view"] != v["view"] or m["replica"] <= last:
                return "bad-proof"
            last = m["replica"]
            wrong = self.view_change(m)
        if wrong:
            return wrong
        decided = self.decide(v["set"])
        return "" if decided == (v["start"], v["choices"]) else "bad-new-view"

    def decide(self, members):
        """What a new view starts with, from a set of VIEW-CHANGEs alone; None: not enough."""
        if len(members) < self.quorum:
            return None
        start = max(m["base"]["slot"] for m in members)
        top = max([start] + [c["slot"] for m in members for c in m["p"]])
        choices = []
        for n in range(start + 1, top + 1):
            choice = self.decide_slot(members, n)
            if choice is None:
                return None
            choices.append(choice)
        return start, choices

    def decide_slot(self, members, n):
        claims = [next((c for c in m["p"] if c["slot"] == n), None) for m in members]
        good = [c for c in claims if c and self.qualifies(members, claims, c)]
        if good:
            return min(good, key=lambda c: (-c["view"], c["digest"]))["digest"]
        return NULL_DIGEST if claims.count(None) >= self.quorum else None

    def qualifies(self, members, claims, c):
        fits = sum(p is None or p["view"] < c["view"] or (p["view"], p["digest"]) == (c["view"], c["digest"]) for p in claims)
        vouch = sum(
            any((e["slot"], e["digest"]) == (c["slot"], c["digest"]) and e["view"] >= c["view"] for e in m["q"]) for m in members
        )
        return fits >= self.quorum and vouch >= self.weak


__all__ = ["Group", "KINDS", "Malformed", "encode"]
