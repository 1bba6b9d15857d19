"""A client of Themis clusters, and the pieces of a replica, written from docs/wire.md alone.

wire     bytes: primitives, frames, requests, replies, batches, digests, what is signed
pbft     bytes and stateless checks of PBFT's messages
state    manifests, pages of the session table and of the key-value store
kv       operations and results of the key-value store
keys     key files, identifiers, certificates, signatures
zip215   the acceptance rule of Ed25519
cluster  the public file of a cluster
link     TLS links and HELLO
session  a session: numbers, resends, the vote on replies
client   a session over links to all replicas

It needs Python 3.11 and the package `cryptography`. It shares no line with the Go code: where the
two disagree, the document or one of them is wrong.
"""
