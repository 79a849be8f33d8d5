package serve

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// rest decides when memory is given back. Go collects when the heap has doubled, and keeps what it freed for the next time:
// after a wave of TLS handshakes that is several times what their idle connections need, and while those are idle nothing
// comes that would collect.
type rest struct {
	seen      uint64 // bytes ever allocated, when it was looked last
	collected uint64 // and when it was collected
}

const (
	// restEvery is how long little must be allocated, so that a collection is in nobody's way.
	restEvery = time.Second
	// restLittle lets the control plane's own work pass, and a few handshakes.
	restLittle = 1 << 20
	// restWorth is what a collection must be able to bring, if it is also an eighth of what lives: what marking costs.
	restWorth = 4 << 20
)

// due tells whether to collect, by how many bytes were ever allocated, and live.
func (r *rest) due(allocated, live uint64) bool {
	quiet := allocated-r.seen < restLittle
	r.seen = allocated
	if !quiet || allocated-r.collected < max(restWorth, live/8) {
		return false
	}
	r.collected = allocated
	return true
}

// giveBack collects what is garbage when little new comes, and gives what is free to the system, until ctx ends.
func giveBack(ctx context.Context) error {
	heap := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	var r rest
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		metrics.Read(heap)
		if r.due(heap[0].Value.Uint64(), heap[1].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}
