package catchup

// StateOf is the state that h holds, in the form in which exec installs it. It shares the
// pages: h must be held for as long as the State is used.
func StateOf(h Held) *State {
	s := &State{Seq: h.Seq(), Digest: h.Digest(), Manifest: h.Manifest(), Pages: make([][]byte, h.Pages())}
	for i := range s.Pages {
		s.Pages[i] = h.Page(i)
	}
	return s
}
