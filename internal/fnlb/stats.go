package fnlb

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"roost"
)

const (
	// ringLen is how many exchanges may wait to be gathered: at gatherEvery, 80,000 requests/s. Beyond it they are not
	// counted, which fnlb's statistics, read by people, can bear.
	ringLen     = 4096
	gatherEvery = 50 * time.Millisecond
	// pathLen is how much of a path is kept: fn's names have 255 bytes at most, and a ring of long ones would be large.
	pathLen = 256

	// window is what one entry sums up.
	window = time.Second
	// keepFor is how long entries wait for a reader, as in fnlb.
	keepFor = time.Minute
	// maxEntries bounds them: anybody may call paths without end. The oldest go first.
	maxEntries = 1 << 14
)

// sample is one exchange.
type sample struct {
	at, wait int64 // nanoseconds, the first in Unix time
	node     roost.NodeID
}

// stats sums samples up by node, path and second. Writers put samples into a ring without waiting; one goroutine gathers.
type stats struct {
	next atomic.Uint64
	ring [ringLen]slot

	mu   sync.Mutex // guards the two below; requests never take it
	open map[place]*Entry
	done []Entry
}

// slot is a place of the ring. state guards the rest.
type slot struct {
	state atomic.Uint32 // empty, taken or full
	sample
	n    int
	path [pathLen]byte
}

const (
	empty = iota
	taken
	full
)

type place struct{ node, path string }

// Entry is what the API tells of one node, one path and one second.
type Entry struct {
	Timestamp time.Time `json:"timestamp"` // of the first answer
	TP        int       `json:"tp"`        // answers
	Node      string    `json:"node"`
	Func      string    `json:"func"`
	Wait      float64   `json:"wait"` // mean of what the node reported, in seconds

	sum int64
}

func (s *stats) put(x sample, path string) {
	p := &s.ring[s.next.Add(1)%ringLen]
	if !p.state.CompareAndSwap(empty, taken) {
		return // the ring is full
	}
	p.sample, p.n = x, copy(p.path[:], path)
	p.state.Store(full)
}

// gather sums up what waits in the ring, and closes the seconds that passed.
func (s *stats) gather(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[place]*Entry{}
	}
	for i := range s.ring {
		p := &s.ring[i]
		if p.state.Load() != full {
			continue
		}
		s.add(time.Unix(0, p.at).UTC(), p.wait, place{string(p.node), string(p.path[:p.n])})
		p.state.Store(empty)
	}
	for k, e := range s.open {
		if now.Sub(e.Timestamp) >= window {
			s.done = append(s.done, *e)
			delete(s.open, k)
		}
	}
	s.done = slices.DeleteFunc(s.done, func(e Entry) bool { return now.Sub(e.Timestamp) > keepFor })
	if over := len(s.done) - maxEntries; over > 0 {
		s.done = slices.Delete(s.done, 0, over)
	}
}

// add sums one sample up. s.mu is held.
func (s *stats) add(at time.Time, wait int64, k place) {
	e := s.open[k]
	if e == nil {
		if len(s.open) >= maxEntries {
			return
		}
		e = &Entry{Timestamp: at, Node: k.node, Func: strings.ToValidUTF8(k.path, "\uFFFD")}
		s.open[k] = e
	} else if at.Before(e.Timestamp) {
		e.Timestamp = at
	}
	e.TP++
	e.sum += wait
	e.Wait = time.Duration(e.sum).Seconds() / float64(e.TP)
}

// take returns all entries, oldest first, and forgets them: so it is in fnlb, which has one reader.
func (s *stats) take(now time.Time) []Entry {
	s.gather(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.done
	for _, e := range s.open {
		all = append(all, *e)
	}
	s.done = nil
	clear(s.open)
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(a.Timestamp.Compare(b.Timestamp), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Func, b.Func))
	})
	return all
}
