"""Keys: docs/wire.md, "Keys". Files, identifiers, certificates, signatures."""

import datetime
import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.x509.oid import NameOID

from . import zip215

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def pkix(public):
    """A public key as a cluster file lists it."""
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def client_id(public):
    """The client that has this key: the key itself if it is Ed25519, else its digest."""
    if isinstance(public, ed25519.Ed25519PublicKey):
        return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(pkix(public)).digest()


def certificate_key(der):
    """The public key (PKIX) that a certificate carries; nothing else of it counts."""
    return pkix(x509.load_der_x509_certificate(der).public_key())


def verify_ed25519(public_bytes, message, signature):
    """By the rules of ZIP-215: what the library accepts is accepted there, and some more."""
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public_bytes).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return zip215.verify(public_bytes, message, signature)


def verify(pkix_bytes, message, signature):
    """Verifies with a public key of any scheme, by the scheme's one rule."""
    public = serialization.load_der_public_key(pkix_bytes)
    if isinstance(public, ed25519.Ed25519PublicKey):
        return verify_ed25519(pkix_bytes[-32:], message, signature)
    try:
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            return True
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        if len(signature) != 64 or s > P256_ORDER // 2:
            return False
        public.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        return True
    except InvalidSignature:
        return False


class Key:
    """A private key: of a client, or of the replica whose place somebody takes."""

    def __init__(self, private):
        self.private = private
        self.public = private.public_key()
        self.pkix = pkix(self.public)
        self.id = client_id(self.public)

    @staticmethod
    def load(path):
        with open(path, "rb") as f:
            return Key(serialization.load_pem_private_key(f.read(), None))

    @staticmethod
    def new():
        return Key(ed25519.Ed25519PrivateKey.generate())

    @staticmethod
    def from_seed(seed):
        return Key(ed25519.Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, message):
        """A signature in the form of the key's scheme."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        r, s = utils.decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")

    def certificate(self):
        """A self-signed certificate of the key and the key, as one PEM text for TLS."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "themis")])
        build = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.public).serial_number(1)
        build = build.not_valid_before(datetime.datetime(1970, 1, 1)).not_valid_after(datetime.datetime(9999, 12, 31, 23, 59, 59))
        algorithm = None if isinstance(self.private, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        certificate = build.sign(self.private, algorithm)
        pem = serialization.Encoding.PEM
        private = self.private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return certificate.public_bytes(pem) + private
