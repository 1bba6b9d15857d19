package replica

import "context"

// Kill ends r as a crash would: what it has not written, sent or executed yet is lost.
func (r *Replica) Kill() {
	r.killed.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.options.Transport.Close(ctx) // it reports that it was not given time
	_ = r.Close(context.Background())
}
