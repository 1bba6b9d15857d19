package host

import (
	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// verifyDigestSkipped is the mutant that trusts the digest a sender claims.
func verifyDigestSkipped() bool { return mutant.On("verify-digest-not-recomputed") }

// signedTagBytesMax is at least the length of the tag before what a client signs.
const signedTagBytesMax = 96

// single decodes and verifies one envelope that did not come from its client.
func (v *Verifier) single(p []byte) (wire.Request, protocol.Reason) {
	r, err := wire.DecodeRequest(p)
	if err != nil {
		return r, protocol.ReasonMalformed
	}
	one := [1]wire.Request{r}
	if !v.requests(one[:]) {
		return r, protocol.ReasonBadRequest
	}
	return r, protocol.ReasonNone
}

// requests reports whether every request is authentic and its client admitted. Admission is
// asked first for all: a batch with one stranger costs no signature.
func (v *Verifier) requests(reqs []wire.Request) bool {
	for i := range reqs {
		if admitted, _ := v.auth.Admits(reqs[i].Client); !admitted && !mutant.On("verify-strangers-admitted") {
			return false
		}
	}
	return v.verifyEach(reqs, make([]bool, len(reqs)))
}

// verifyEach verifies the signatures of requests whose clients are admitted, remembers the
// good ones, tells in ok which they are, and reports whether all are.
func (v *Verifier) verifyEach(reqs []wire.Request, ok []bool) bool {
	keys := make([]bft.Digest, len(reqs))
	unknown := make([]int, 0, len(reqs))
	bytes := 0
	for i := range reqs {
		keys[i] = cacheKey(&reqs[i])
		ok[i] = v.verified.has(keys[i]) || mutant.On("verify-request-signature-skipped")
		if !ok[i] {
			unknown = append(unknown, i)
			bytes += len(reqs[i].Raw) + signedTagBytesMax
		}
	}
	if len(unknown) == 0 {
		return true
	}
	items := make([]auth.Item, len(unknown))
	buf := make([]byte, 0, bytes)
	for j, i := range unknown {
		start := len(buf)
		buf = reqs[i].AppendSigned(buf, v.domain)
		items[j] = auth.Item{Client: reqs[i].Client, Msg: buf[start:len(buf):len(buf)], Sig: reqs[i].Sig}
	}
	good := make([]bool, len(items))
	all := v.auth.VerifyClients(items, good)
	for j, i := range unknown {
		if good[j] {
			ok[i] = true
			if mutant.On("verify-nothing-remembered") {
				continue
			}
			v.verified.add(keys[i])
		}
	}
	return all
}

// cacheKey is what the verification of a request is remembered under: the digest of the whole
// envelope with its signature. Anything less would let other bytes pass for verified ones.
func cacheKey(r *wire.Request) bft.Digest {
	if mutant.On("verify-cache-keyed-by-number") {
		name := wire.Request{Client: r.Client, Session: r.Session, First: r.First}
		return wire.DigestOf("request", name.AppendUnsigned(nil))
	}
	return r.Digest()
}
