package std

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// resolver turns nodes' names into addresses. Answers are kept for a moment only: long enough that a burst of dials is
// one question, short enough that a node that moved is found again at once. Errors are not kept. The zero resolver is
// ready.
type resolver struct {
	mu    sync.Mutex // guards names; held for map operations, on the way to a dial, never while asking
	names map[string]*answer
}

const (
	answerTTL = 5 * time.Second
	// maxNames bounds the names kept: more than any balancer has nodes by name, and a reload forgets none.
	maxNames = 4096
)

// answer is what a name resolved to; done is closed when addrs and err stand.
type answer struct {
	done  chan struct{}
	until time.Time
	addrs []netip.Addr
	err   error
}

// lookup asks for a name at most once at a time.
func (r *resolver) lookup(ctx context.Context, name string, now time.Time) ([]netip.Addr, error) {
	r.mu.Lock()
	a := r.names[name]
	if a != nil && now.Before(a.until) {
		r.mu.Unlock()
		select {
		case <-a.done:
			return a.addrs, a.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if r.names == nil || len(r.names) >= maxNames {
		r.names = map[string]*answer{}
	}
	a = &answer{done: make(chan struct{}), until: now.Add(answerTTL)}
	r.names[name] = a
	r.mu.Unlock()

	a.addrs, a.err = net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if a.err != nil {
		r.mu.Lock()
		if r.names[name] == a {
			delete(r.names, name)
		}
		r.mu.Unlock()
	}
	close(a.done)
	return a.addrs, a.err
}
