package replica_test

import (
	"context"
	"testing"
	"time"

	"github.com/themis-bft/themis/client"
)

// BenchmarkCluster drives four replicas and 100 clients of one process, one operation of 100
// bytes outstanding per client.
func BenchmarkCluster(b *testing.B) {
	c := newCluster(b, 4, 1)
	c.m.CheckpointEvery, c.m.Window = 64, 256
	c.startAll()
	const clients = 100
	todo := make(chan struct{}, clients)
	done := make(chan error, clients)
	var open []*client.Client
	for range clients {
		open = append(open, c.client())
	}
	begin := time.Now()
	b.ResetTimer()
	for _, cl := range open {
		go func() {
			op := make([]byte, 100)
			var failed error
			for range todo {
				if _, err := cl.Invoke(context.Background(), op); err != nil {
					failed = err
				}
			}
			done <- failed
		}()
	}
	for range b.N {
		todo <- struct{}{}
	}
	close(todo)
	for range clients {
		must(b, <-done)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "op/s")
}
