package main

import "math/bits"

// Hist counts durations in buckets whose width is at most 1/128 of their value, as HdrHistogram does. The zero value is
// empty.
type Hist struct {
	counts [(64 - histBits + 1) << histBits]uint32
	n      int64
	max    int64
}

// histBits makes 2^7 buckets per power of two: below 1 % of error.
const histBits = 7

// Add counts one duration in nanoseconds; a negative one counts as zero.
func (h *Hist) Add(ns int64) {
	ns = max(ns, 0)
	h.counts[bucket(uint64(ns))]++
	h.n++
	h.max = max(h.max, ns)
}

// Merge adds all that another one counted.
func (h *Hist) Merge(o *Hist) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// Quantile returns the least duration, in nanoseconds, that at least a share q of all do not exceed: the upper end of
// its bucket, so never too little, and never more than the largest seen. Empty: 0.
func (h *Hist) Quantile(q float64) int64 {
	want := int64(q * float64(h.n))
	if float64(want) < q*float64(h.n) || want == 0 {
		want++
	}
	var seen int64
	for i, c := range h.counts {
		if seen += int64(c); c > 0 && seen >= want {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

// bucket maps v to its bucket: the values below 2^(histBits+1) each have their own.
func bucket(v uint64) int {
	shift := max(bits.Len64(v)-histBits-1, 0)
	return shift<<histBits + int(v>>shift)
}

// upper is the largest value of a bucket.
func upper(i int) int64 {
	shift := max(i>>histBits-1, 0)
	return int64(i-shift<<histBits+1)<<shift - 1
}
