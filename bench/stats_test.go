package main

import (
	"math"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1}, 5}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 100}, 3.5}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median of %v: %g, want %g", c.in, got, c.want)
		}
	}
}

func cpu(us ...float64) (rounds []Sample) {
	for _, x := range us {
		rounds = append(rounds, Sample{Requests: 1, CPU: x, P99: x * 2})
	}
	return rounds
}

func TestRatiosAreTakenWithinRoundsThenTheirMedian(t *testing.T) {
	// The machine was three times slower in the second round, and something hit only roost in the third.
	r := Result{Rows: []Row{
		{Name: "a", Peer: true, Rounds: cpu(20, 60, 20)},
		{Name: "b", Peer: true, Rounds: cpu(10, 30, 10)},
		{Name: "roost", Rounds: cpu(5, 15, 500)},
	}}
	r.settle()
	if r.Better != "b" {
		t.Fatalf("better peer: %q", r.Better)
	}
	for i, want := range []float64{2, 1, 0.5} {
		if row := r.Rows[i]; row.CPUx != want || row.P99x != want {
			t.Errorf("%s: CPU x %g, p99 x %g; want %g", row.Name, row.CPUx, row.P99x, want)
		}
	}
}

func TestAnInvalidPeerIsNeverTheBetterOne(t *testing.T) {
	r := Result{Rows: []Row{
		{Name: "cheat", Peer: true, Invalid: "no affinity", Rounds: cpu(1)},
		{Name: "liar", Peer: true, Rounds: []Sample{{Requests: 1, CPU: 2, Wrong: 1}}},
		{Name: "idle", Peer: true, Rounds: []Sample{{}}},
		{Name: "honest", Peer: true, Rounds: cpu(9)},
	}}
	r.settle()
	if r.Better != "honest" {
		t.Errorf("better peer: %q", r.Better)
	}
	for i, want := range []string{"no affinity", "wrong bytes", "no request", ""} {
		if got := r.Rows[i].Invalid; !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: invalid %q, want %q", r.Rows[i].Name, got, want)
		}
	}
}

func TestWithoutAPeerThereIsNoRatio(t *testing.T) {
	r := Result{Rows: []Row{{Name: "roost", Rounds: cpu(5)}}}
	r.settle()
	if r.Better != "" || r.Rows[0].CPUx != 0 || r.Rows[0].Median.CPU != 5 {
		t.Errorf("%+v", r)
	}
}

func TestErrorsAreSummedNotAveraged(t *testing.T) {
	m := medians([]Sample{{Errors: 0, Wrong: 1}, {Errors: 7}, {Errors: 0}})
	if m.Errors != 7 || m.Wrong != 1 {
		t.Errorf("errors %d, wrong %d", m.Errors, m.Wrong)
	}
}

func TestASampleCountsCPUPerRequestAndSplitsItInProportion(t *testing.T) {
	s := Sample{Requests: 1000, Seconds: 2}
	var h Hist
	h.Add(3000)
	s.count(&h, Usage{Run: 1e6, User: 5, Sys: 5}, Usage{Run: 11e6, User: 6, Sys: 8})
	if s.CPU != 10 || s.User != 2.5 || s.Sys != 7.5 || s.RPS != 500 || s.P50 != 3 {
		t.Errorf("%+v", s)
	}
	none := Sample{}
	none.count(&Hist{}, Usage{}, Usage{Run: 5})
	if math.IsNaN(none.CPU) || math.IsInf(none.CPU, 0) || math.IsNaN(none.RPS) {
		t.Errorf("nothing measured: %+v", none)
	}
}
