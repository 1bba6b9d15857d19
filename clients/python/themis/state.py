"""What a checkpoint consists of: docs/wire.md, "Checkpoints"."""

from .kv import KEY_BYTES_MAX, VALUE_BYTES_MAX
from .wire import RESULT_BYTES_MAX, SLOT_MAX, WINDOW_OPS, Reader, boolean, check, digest, u8, u16, u32, u64, with_length

PAGES_MAX = 1 << 13
SESSIONS_PER_PAGE = 16
KV_PAGES = 1024
KV_PAGE_BYTES_MAX = 8 << 20
KV_ENTRIES_MAX = 1 << 14


def encode_manifest(v):
    """The lists are runs: how often in a row, and which digest."""
    app, sessions = (b"".join(d * n for n, d in v[name]) for name in ("app", "sessions"))
    head = u8(1) + u64(v["slot"]) + u64(v["time"]) + v["membership"]
    return head + u32(len(app) // 32) + u32(len(sessions) // 32) + app + sessions


def decode_manifest(data):
    r = Reader(data)
    check(r.u8() == 1, "another version")
    v = {"slot": r.slot(), "time": r.u64(), "membership": r.take(32)}
    check(v["time"] < 1 << 63, "a time below zero")
    counts = r.u32(), r.u32()
    check(max(counts) <= PAGES_MAX, "too many pages")
    for name, n in zip(("app", "sessions"), counts):
        v[name] = []
        for _ in range(n):
            d = r.take(32)
            if v[name] and v[name][-1][1] == d:
                v[name][-1][0] += 1
            else:
                v[name].append([1, d])
    r.end()
    return v


def page_of(key):
    """The page of a key: FNV-1a, folded."""
    h = 2166136261
    for c in key:
        h = (h ^ c) * 16777619 & 0xFFFFFFFF
    return (h ^ h >> 16) % KV_PAGES


def encode_kv_page(v):
    return u32(len(v["entries"])) + b"".join(with_length(k) + with_length(x) for k, x in v["entries"])


def decode_kv_page(data):
    """Parses a page that is not empty; which one it is follows from its keys."""
    r = Reader(data)
    n = r.u32()
    check(0 < n <= KV_ENTRIES_MAX and n * 8 <= r.left() <= KV_PAGE_BYTES_MAX, "%d entries" % n)
    entries = [[r.bytes(KEY_BYTES_MAX), r.bytes(VALUE_BYTES_MAX)] for _ in range(n)]
    r.end()
    keys = [k for k, _ in entries]
    check(all(a < b for a, b in zip(keys, keys[1:])), "keys do not ascend")
    check(len({page_of(k) for k in keys}) == 1, "keys of several pages")
    return {"page": page_of(keys[0]), "entries": entries}


def encode_session_page(v):
    return b"".join(b"\x00" if s is None else b"\x01" + encode_session(s) for s in v["places"])


def encode_session(s):
    out = s["client"] + u64(s["number"]) + u64(s["nonce"]) + boolean(s["listed"]) + u64(s["last_slot"]) + u32(s["last_request"])
    out += u64(s["done"]) + b"".join(map(u64, s["executed"])) + u64(s["produced"]) + u16(len(s["replies"]))
    return out + b"".join(u64(c["number"]) + u64(c["start"]) + with_length(c["result"]) for c in s["replies"])


def decode_session_page(data):
    r = Reader(data)
    places = [read_session(r) if r.bool() else None for _ in range(SESSIONS_PER_PAGE)]
    r.end()
    return {"places": places}


def read_session(r):
    s = {"client": r.take(32), "number": r.u64(), "nonce": r.u64(), "listed": r.bool(), "last_slot": r.u64()}
    s.update(last_request=r.u32(), done=r.u64(), executed=[r.u64() for _ in range(4)], produced=r.u64())
    s["replies"] = []
    for _ in range(r.count(WINDOW_OPS, 20)):
        c = {"number": r.u64(), "start": r.u64(), "result": r.bytes(RESULT_BYTES_MAX)}
        bit = c["number"] % WINDOW_OPS
        check(s["done"] <= c["number"] < s["done"] + WINDOW_OPS and s["executed"][bit // 64] >> bit % 64 & 1, "a reply of nothing")
        check(c["start"] <= s["produced"], "a reply from beyond")
        s["replies"].append(c)
    return s


def checkpoint_digest(manifest):
    return digest("checkpoint", manifest)


__all__ = ["SLOT_MAX", "checkpoint_digest"]
