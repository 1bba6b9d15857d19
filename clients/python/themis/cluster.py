"""The public file of a cluster: docs/wire.md, "Files"."""

import base64
import os
import re

from . import keys
from .wire import REPLICAS_MAX, Malformed

try:
    import tomllib
except ImportError as missing:  # Python before 3.11
    raise SystemExit("this program needs Python 3.11 or later, which reads TOML\n  hint: run it with: python3.11") from missing


class ClusterError(Exception):
    """A file that cannot be used: what is wrong with it, and what to do next."""

    def __init__(self, what, hint):
        super().__init__(what)
        self.hint = hint


UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1}
SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def duration(text):
    """Nanoseconds of a duration such as 10s or 1m30s."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError("%r is no duration" % text)
    return sum(round(float(n) * UNITS[u]) for n, u in parts)


def size(text):
    """Bytes of a size such as 128KiB."""
    m = re.fullmatch(r"(\d+)(B|KiB|MiB|GiB)", text)
    if not m:
        raise ValueError("%r is no size" % text)
    return int(m[1]) * SIZES[m[2]]


def public_key(text):
    """PKIX bytes of a key in base64 or PEM."""
    return base64.b64decode(re.sub(r"-----[A-Z ]+-----|\s", "", text), validate=True)


class Cluster:
    """What clients and replicas agree on before they start."""

    def __init__(self, path):
        self.path = path
        try:
            with open(path, "rb") as f:
                text = tomllib.load(f)
        except OSError as e:
            raise ClusterError("%s: %s" % (path, e.strerror), "make a cluster with: themis cluster up --dir D") from e
        except tomllib.TOMLDecodeError as e:
            raise ClusterError("%s: %s" % (path, e), "correct it, then run: themis config validate %s" % path) from e
        try:
            self.read(text)
        except (KeyError, ValueError, TypeError, Malformed) as e:
            what = "%s is missing" % e if isinstance(e, KeyError) else str(e)
            raise ClusterError("%s: %s" % (path, what), "correct it, then run: themis config validate %s" % path) from e

    def read(self, text):
        p = text.get("parameters", {})
        replicas = text["replicas"]
        clients = [public_key(c["key"]) for c in text.get("clients", [])]
        self.membership = {
            "cluster": bytes.fromhex(text["cluster"]), "epoch": text.get("epoch", 0), "protocol": text["protocol"], "app": text["app"],
            "scheme": text["scheme"], "f": text["f"], "open": text.get("open", False), "replicas": [public_key(r["key"]) for r in replicas],
            "clients": [{"id": identifier(k), "key": k} for k in clients],
            "checkpoint_every": p.get("checkpoint_every", 64), "window": p.get("window", 256), "in_flight": p.get("in_flight", 4),
            "batch_count": p.get("batch_count", 256), "batch_bytes": size(p.get("batch_bytes", "128KiB")),
            "sessions": p.get("sessions", 1024), "time_skew": duration(p.get("time_skew", "10s")),
        }
        self.cluster, self.epoch, self.protocol = (self.membership[k] for k in ("cluster", "epoch", "protocol"))
        self.n, self.f, self.keys = len(replicas), text["f"], self.membership["replicas"]
        self.open = self.membership["open"]
        self.addresses = [split(r["client"]) for r in replicas]
        if len(self.cluster) != 16 or not 0 < self.n <= REPLICAS_MAX or not 0 <= self.f < self.n or [r["id"] for r in replicas] != list(range(self.n)):
            raise ValueError("not a cluster: its name has 32 digits, its replicas stand in the order of their ids, and f is less than their number")

    def hello(self):
        return {"version": 1, "cluster": self.cluster, "epoch": self.epoch, "protocol": self.protocol}

    def admits(self, key):
        return any(c["id"] == key.id for c in self.membership["clients"]) or self.open and len(key.pkix) == 44


def identifier(pkix):
    from cryptography.hazmat.primitives import serialization

    return keys.client_id(serialization.load_der_public_key(pkix))


def split(address):
    """Host and port of an address such as 127.0.0.1:7001 or [::1]:7001."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def load(directory):
    """The cluster that themis init or themis cluster up laid out in a directory."""
    path = os.path.join(directory, "cluster.toml")
    if not os.path.exists(path):
        raise ClusterError("%s holds no cluster" % directory, "make one with: themis cluster up --dir %s" % directory)
    return Cluster(path)


def replica(directory, number):
    """The file and the key of one replica of a local cluster."""
    folder = os.path.join(directory, "r%d" % number)
    with open(os.path.join(folder, "themis.toml"), "rb") as f:
        own = tomllib.load(f)
    return own, keys.Key.load(os.path.join(folder, own["key"]))
