package transport

import "encoding/binary"

// frameHeaderBytes is the length (4) before kind and payload, which it counts.
const frameHeaderBytes = 4

// Split walks over a buffer of whole frames, as SendPeer takes it, and calls yield with each.
// Payloads alias the buffer. It reports whether the buffer consisted of whole frames of at most
// limit bytes (kind and payload) each; when it did not, yield was called for those before the
// bad one. A nil yield only checks.
func Split(frames []byte, limit int, yield func(Frame)) bool {
	for len(frames) > 0 {
		if len(frames) < frameHeaderBytes+1 {
			return false
		}
		n := binary.LittleEndian.Uint32(frames)
		if n == 0 || uint64(n) > uint64(limit) || uint64(n) > uint64(len(frames)-frameHeaderBytes) {
			return false
		}
		end := frameHeaderBytes + int(n)
		if yield != nil {
			yield(Frame{Kind: frames[frameHeaderBytes], Payload: frames[frameHeaderBytes+1 : end : end]})
		}
		frames = frames[end:]
	}
	return true
}
