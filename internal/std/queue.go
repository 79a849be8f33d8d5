package std

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"roost"
)

// lines are where requests wait while every node of their pool is at its hard limit, one line per pool, first come first
// served. The zero value is ready.
//
// Who ends an attempt wakes the first in line if Waiting says that there is one. A wake-up that nobody hears is made good
// by the next, and at the latest by the look-up: a reload or a node that came back makes room without an end.
type lines struct {
	mu sync.Mutex // guards of; only full pools come here
	of map[*roost.PoolLive][]chan struct{}
}

// lookUp is how often the first in line looks for room without being woken.
const lookUp = 50 * time.Millisecond

// wait waits in the pool's line for room, and makes the exchange's first attempt there.
func (l *lines) wait(k *work) roost.Refusal {
	x := &k.x
	live, set := x.Pool.Live, &x.Pool.Settings
	me, ok := l.join(live, set.QueueLen)
	if !ok {
		return roost.RefusedFull
	}
	defer l.leave(live, me)
	since := k.e.o.Now()
	defer func() { x.Record.Queued = int64(k.e.o.Now().Sub(since)) }()
	deadline := time.NewTimer(set.QueueTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(lookUp)
	defer tick.Stop()
	for {
		if l.first(live, me) {
			if refused := x.Choose(rand.Uint64(), k.e.o.Now().UnixNano()); refused != roost.RefusedFull {
				return refused
			}
		}
		select {
		case <-me:
		case <-tick.C:
			x.Refresh(k.e.o.Snapshot.Load())
			if k.c.closing.Load() {
				return roost.RefusedFull
			}
		case <-deadline.C:
			return roost.RefusedFull
		}
	}
}

func (l *lines) join(p *roost.PoolLive, limit int) (me chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.of[p]) >= limit {
		return nil, false
	}
	if l.of == nil {
		l.of = map[*roost.PoolLive][]chan struct{}{}
	}
	me = make(chan struct{}, 1)
	l.of[p] = append(l.of[p], me)
	p.Waiting.Add(1)
	return me, true
}

// leave takes me out, and wakes the next: there may be room for it too.
func (l *lines) leave(p *roost.PoolLive, me chan struct{}) {
	l.mu.Lock()
	if i := slices.Index(l.of[p], me); i >= 0 {
		l.of[p] = slices.Delete(l.of[p], i, i+1)
	}
	if len(l.of[p]) == 0 {
		delete(l.of, p)
	}
	l.mu.Unlock()
	p.Waiting.Add(-1)
	l.wake(p)
}

func (l *lines) first(p *roost.PoolLive, me chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[p][0] == me
}

// wake tells the first in line that there may be room.
func (l *lines) wake(p *roost.PoolLive) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if line := l.of[p]; len(line) > 0 {
		select {
		case line[0] <- struct{}{}:
		default: // was told already
		}
	}
}
