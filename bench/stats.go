package main

import "slices"

// Sample is what one run of one contestant gave.
type Sample struct {
	Requests int64   `json:"requests"` // finished in the measured window
	Seconds  float64 `json:"seconds"`
	RPS      float64 `json:"rps"`
	CPU      float64 `json:"cpu_us"`  // of the proxy, per request
	User     float64 `json:"user_us"` // the part of it in user mode
	Sys      float64 `json:"sys_us"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	P999     float64 `json:"p999_us"`
	Max      float64 `json:"max_us"`
	Errors   int64   `json:"errors"` // broken connections, statuses other than 200, requests of an open loop never answered
	Wrong    int64   `json:"wrong"`  // answers with wrong bytes
	RSS      int64   `json:"rss_bytes"`
	Others   float64 `json:"others"` // share of the machine that others used meanwhile: how far to trust this

	Memory float64 `json:"idle_bytes,omitempty"` // user memory of the proxy that each idle connection cost

	// Beside slow clients.
	AloneP99 float64 `json:"alone_p99_us,omitempty"` // just before, without them
	Slow     int64   `json:"slow_clients,omitempty"` // that were connected at the end
	Cut      int64   `json:"slow_cut,omitempty"`     // times that the proxy ended the connection of one

	// What became of a flood of connections.
	Served  int64 `json:"served,omitempty"`
	Refused int64 `json:"refused,omitempty"` // by a 503
	Closed  int64 `json:"closed,omitempty"`  // without an answer
	Silent  int64 `json:"silent,omitempty"`  // neither answered nor closed
	Kept    int64 `json:"kept,omitempty"`    // of those served: answered again, after the flood
}

// Row is a contestant's result in one case: medians over the rounds, but sums of errors.
type Row struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Peer    bool     `json:"peer"`
	Invalid string   `json:"invalid,omitempty"` // why its figures do not count
	Median  Sample   `json:"median"`
	CPUx    float64  `json:"cpu_ratio"` // median of per-round ratios to the better peer; 0: no peer
	P50x    float64  `json:"p50_ratio"`
	P99x    float64  `json:"p99_ratio"`
	P999x   float64  `json:"p999_ratio"`
	Rounds  []Sample `json:"rounds"`
}

// Result is one case.
type Result struct {
	Case   Case   `json:"case"`
	Better string `json:"better_peer,omitempty"`
	Rows   []Row  `json:"rows"`
}

// of returns what is judged: microseconds, or KiB.
func (f Figure) of(s Sample) float64 {
	switch f {
	case P99:
		return s.P99
	case Memory:
		return s.Memory / 1024
	}
	return s.CPU
}

// settle fills in medians and ratios. The better peer is the valid one with the lower median of what is judged.
func (r *Result) settle() {
	better := -1
	for i := range r.Rows {
		row := &r.Rows[i]
		row.Median = medians(row.Rounds)
		if row.Median.Wrong > 0 && row.Invalid == "" {
			row.Invalid = "wrong bytes under load"
		}
		if row.Median.Requests == 0 && row.Invalid == "" {
			row.Invalid = "no request finished"
		}
		figure := r.Case.Goal.Of.of(row.Median)
		if row.Peer && row.Invalid == "" && figure != 0 && (better < 0 || figure < r.Case.Goal.Of.of(r.Rows[better].Median)) {
			better = i
		}
	}
	if better < 0 {
		return
	}
	r.Better = r.Rows[better].Name
	for i := range r.Rows {
		row := &r.Rows[i]
		row.CPUx = ratio(row.Rounds, r.Rows[better].Rounds, func(s Sample) float64 { return s.CPU })
		row.P50x = ratio(row.Rounds, r.Rows[better].Rounds, func(s Sample) float64 { return s.P50 })
		row.P99x = ratio(row.Rounds, r.Rows[better].Rounds, func(s Sample) float64 { return s.P99 })
		row.P999x = ratio(row.Rounds, r.Rows[better].Rounds, func(s Sample) float64 { return s.P999 })
	}
}

// slowest returns how many requests per second the slowest peer did; the slowest of all when there is no peer.
func (r *Result) slowest() float64 {
	var peers, all []float64
	for _, row := range r.Rows {
		if row.Invalid != "" {
			continue
		}
		all = append(all, row.Median.RPS)
		if row.Peer {
			peers = append(peers, row.Median.RPS)
		}
	}
	switch {
	case len(peers) > 0:
		return slices.Min(peers)
	case len(all) > 0:
		return slices.Min(all)
	}
	return 0
}

// ratio is the median over rounds of a's figure to b's in the same round: what disturbs the machine for a while
// disturbs both. Rounds in which b has none are left out; 0 when none remains.
func ratio(a, b []Sample, of func(Sample) float64) float64 {
	var rs []float64
	for i := range min(len(a), len(b)) {
		if y := of(b[i]); y > 0 {
			rs = append(rs, of(a[i])/y)
		}
	}
	return median(rs)
}

func medians(rounds []Sample) Sample {
	m := Sample{
		Requests: pick(rounds, func(s Sample) int64 { return s.Requests }),
		Seconds:  pick(rounds, func(s Sample) float64 { return s.Seconds }),
		RPS:      pick(rounds, func(s Sample) float64 { return s.RPS }),
		CPU:      pick(rounds, func(s Sample) float64 { return s.CPU }),
		User:     pick(rounds, func(s Sample) float64 { return s.User }),
		Sys:      pick(rounds, func(s Sample) float64 { return s.Sys }),
		P50:      pick(rounds, func(s Sample) float64 { return s.P50 }),
		P99:      pick(rounds, func(s Sample) float64 { return s.P99 }),
		P999:     pick(rounds, func(s Sample) float64 { return s.P999 }),
		Max:      pick(rounds, func(s Sample) float64 { return s.Max }),
		RSS:      pick(rounds, func(s Sample) int64 { return s.RSS }),
		Others:   pick(rounds, func(s Sample) float64 { return s.Others }),
		Memory:   pick(rounds, func(s Sample) float64 { return s.Memory }),
		AloneP99: pick(rounds, func(s Sample) float64 { return s.AloneP99 }),
		Slow:     pick(rounds, func(s Sample) int64 { return s.Slow }),
		Served:   pick(rounds, func(s Sample) int64 { return s.Served }),
		Refused:  pick(rounds, func(s Sample) int64 { return s.Refused }),
		Closed:   pick(rounds, func(s Sample) int64 { return s.Closed }),
		Silent:   pick(rounds, func(s Sample) int64 { return s.Silent }),
		Kept:     pick(rounds, func(s Sample) int64 { return s.Kept }),
	}
	for _, s := range rounds {
		m.Errors += s.Errors
		m.Wrong += s.Wrong
		m.Cut += s.Cut
	}
	return m
}

func pick[T int64 | float64](rounds []Sample, of func(Sample) T) T {
	xs := make([]T, len(rounds))
	for i, s := range rounds {
		xs[i] = of(s)
	}
	return median(xs)
}

// median is the middle one, or the mean of the middle two; 0 of nothing.
func median[T int64 | float64](xs []T) T {
	if len(xs) == 0 {
		return 0
	}
	xs = slices.Sorted(slices.Values(xs))
	return (xs[(len(xs)-1)/2] + xs[len(xs)/2]) / 2
}

// count fills in latencies and the CPU between two readings, for the requests of the sample.
func (s *Sample) count(h *Hist, from, to Usage) {
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	s.P50, s.P99, s.P999, s.Max = us(h.Quantile(0.5)), us(h.Quantile(0.99)), us(h.Quantile(0.999)), us(h.max)
	if s.Seconds > 0 {
		s.RPS = float64(s.Requests) / s.Seconds
	}
	if s.Requests > 0 {
		s.CPU = us(to.Run-from.Run) / float64(s.Requests)
	}
	if user, sys := float64(to.User-from.User), float64(to.Sys-from.Sys); user+sys > 0 {
		s.User, s.Sys = s.CPU*user/(user+sys), s.CPU*sys/(user+sys)
	}
}
