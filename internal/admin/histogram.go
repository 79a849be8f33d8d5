package admin

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// bounds are the upper bounds of the buckets. Nothing writes to it. They reach from a warm answer of a node next door to
// the usual longest timeout, with a cold start (some 100 ms to some seconds) in the finer middle.
var bounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// histogram counts durations. The zero value is empty; any number of goroutines may add.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64 // not cumulative; the last one has no bound
	nanos   atomic.Uint64                  // sum; 584 years
}

func (h *histogram) add(nanos int64) {
	nanos = max(nanos, 0)
	i := 0
	for i < len(bounds) && nanos > int64(bounds[i]) {
		i++
	}
	h.buckets[i].Add(1)
	h.nanos.Add(uint64(nanos))
}

// collect sends what was counted. The count is that of the buckets read, so that both agree while others add.
func (h *histogram) collect(ch chan<- prometheus.Metric, d *prometheus.Desc, label string) {
	var n uint64
	cumulative := make(map[float64]uint64, len(bounds))
	for i := range h.buckets {
		n += h.buckets[i].Load()
		if i < len(bounds) {
			cumulative[bounds[i].Seconds()] = n
		}
	}
	if n > 0 {
		ch <- prometheus.MustNewConstHistogram(d, n, time.Duration(h.nanos.Load()).Seconds(), cumulative, valid(label)...)
	}
}
