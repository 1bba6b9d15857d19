"""Operations and results of the key-value store: docs/wire.md, "The key-value store"."""

from .wire import OP_BYTES_MAX, RESULT_BYTES_MAX, Malformed, Reader, boolean, check, u8, u16, u32, with_length

GET, PUT, DELETE, CAS, SCAN = range(1, 6)
DONE, FOUND, MISSING, MISMATCH, LISTED, TOO_LARGE, FULL, MALFORMED = range(8)
NAMES = ["done", "found", "missing", "mismatch", "listed", "too large", "full", "malformed"]
KEY_BYTES_MAX, VALUE_BYTES_MAX, SCAN_MAX = 1 << 10, 30 << 10, 1000


def get(key):
    return u8(GET) + with_length(key)


def put(key, value):
    return u8(PUT) + with_length(key) + with_length(value)


def delete(key):
    return u8(DELETE) + with_length(key)


def cas(key, old, new):
    """Sets key to new if its value is old; with old None, if the key is absent."""
    return u8(CAS) + with_length(key) + boolean(old is not None) + with_length(old or b"") + with_length(new)


def scan(prefix, start, limit):
    return u8(SCAN) + with_length(prefix) + with_length(start) + u32(limit)


def encode_operation(v):
    op = v["op"]
    if op == "get":
        return get(v["key"])
    if op == "delete":
        return delete(v["key"])
    if op == "put":
        return put(v["key"], v["value"])
    if op == "cas":
        return cas(v["key"], v["old"] if v["has_old"] else None, v["new"])
    return scan(v["prefix"], v["from"], v["limit"])


def decode_operation(data):
    r = Reader(data)
    kind = r.u8()
    part = lambda: r.bytes(OP_BYTES_MAX)
    if kind == GET:
        v = {"op": "get", "key": part()}
    elif kind == DELETE:
        v = {"op": "delete", "key": part()}
    elif kind == PUT:
        v = {"op": "put", "key": part(), "value": part()}
    elif kind == CAS:
        v = {"op": "cas", "key": part(), "has_old": r.bool(), "old": part(), "new": part()}
        check(v["has_old"] or not v["old"], "an old value where none is expected")
    elif kind == SCAN:
        v = {"op": "scan", "prefix": part(), "from": part(), "limit": r.u32()}
        check(v["limit"] <= SCAN_MAX, "a scan of %d" % v["limit"])
    else:
        raise Malformed("operation %d" % kind)
    r.end()
    return v


def encode_result(v):
    out = u8(v["code"])
    if v["code"] == FOUND:
        out += with_length(v["value"])
    elif v["code"] == MISMATCH:
        out += boolean(v["present"]) + with_length(v["value"])
    elif v["code"] == LISTED:
        out += boolean(v["more"]) + u16(len(v["entries"]))
        out += b"".join(with_length(k) + with_length(x) for k, x in v["entries"])
    return out


def decode_result(data):
    r = Reader(data)
    v = {"code": r.u8()}
    check(v["code"] <= MALFORMED, "code %d" % v["code"])
    if v["code"] == FOUND:
        v["value"] = r.bytes(RESULT_BYTES_MAX)
    elif v["code"] == MISMATCH:
        v["present"], v["value"] = r.bool(), r.bytes(RESULT_BYTES_MAX)
    elif v["code"] == LISTED:
        v["more"] = r.bool()
        v["entries"] = [[r.bytes(RESULT_BYTES_MAX), r.bytes(RESULT_BYTES_MAX)] for _ in range(r.count(SCAN_MAX, 8))]
    r.end()
    return v
