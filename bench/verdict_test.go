package main

import (
	"strings"
	"testing"
)

func TestRoostIsJudgedByWhatTheCaseIsAbout(t *testing.T) {
	flood := Case{Kind: Flooded, Limit: 8}
	for _, c := range []struct {
		about string
		c     Case
		peer  Sample
		roost Sample
		want  string
	}{
		{"at the aim", Case{Goal: Goal{CPU, 0.9, 0.7}}, Sample{CPU: 10}, Sample{CPU: 7}, "aim"},
		{"between", Case{Goal: Goal{CPU, 0.9, 0.7}}, Sample{CPU: 10}, Sample{CPU: 8}, "must"},
		{"above", Case{Goal: Goal{CPU, 0.9, 0.7}}, Sample{CPU: 10}, Sample{CPU: 9.1}, "NO"},
		{"cheap because it fails", Case{Goal: Goal{CPU, 0.9, 0.7}}, Sample{CPU: 10}, Sample{CPU: 1, Errors: 1}, "NO"},
		{"wrong", Case{Goal: Goal{CPU, 0.9, 0.7}}, Sample{CPU: 10}, Sample{CPU: 1, Wrong: 1}, "NO"},
		{"no goal", Case{}, Sample{CPU: 10}, Sample{CPU: 1}, "-"},
		{"no peer's figure", Case{Goal: Goal{CPU, 0.9, 0.7}}, Sample{}, Sample{CPU: 1}, "-"},
		{"late, though cheap", Case{Goal: Goal{P99, 1.1, 0.9}}, Sample{CPU: 10, P99: 10}, Sample{CPU: 1, P99: 12}, "NO"},
		{"memory is absolute", Case{Kind: Idle, Goal: Goal{Memory, 10, 8}}, Sample{Memory: 1024}, Sample{Memory: 9 * 1024}, "must"},
		{"memory of lost connections", Case{Kind: Idle, Goal: Goal{Memory, 10, 8}}, Sample{Memory: 1024}, Sample{Memory: 1, Errors: 1}, "NO"},
		{"undisturbed", Case{Kind: Slow, Goal: Goal{Of: P99}}, Sample{P99: 1}, Sample{P99: 2}, "yes"},
		{"disturbed", Case{Kind: Slow, Goal: Goal{Of: P99}}, Sample{P99: 1}, Sample{P99: 1, Errors: 1}, "NO"},
		{"exact", flood, Sample{Served: 10}, Sample{Requests: 10, Served: 8, Kept: 8, Refused: 1, Closed: 1}, "yes"},
		{"one too many", flood, Sample{Served: 10}, Sample{Requests: 10, Served: 9, Kept: 9, Refused: 1}, "NO"},
		{"one lost", flood, Sample{Served: 10}, Sample{Requests: 10, Served: 8, Kept: 7, Refused: 2}, "NO"},
		{"some left waiting", flood, Sample{Served: 10}, Sample{Requests: 10, Served: 8, Kept: 8, Silent: 2}, "NO"},
	} {
		c.peer.Requests, c.roost.Requests = max(c.peer.Requests, 1), max(c.roost.Requests, 1)
		r := Result{Case: c.c, Rows: []Row{{Name: "peer", Peer: true, Rounds: []Sample{c.peer}}, {Name: "roost", Rounds: []Sample{c.roost}}}}
		r.settle()
		if vs := r.verdicts(); len(vs) != 1 || vs[0].OK != c.want {
			t.Errorf("%s: %+v, want %s", c.about, vs, c.want)
		}
	}
}

func TestTheSummaryHasOneLineForEachVerdict(t *testing.T) {
	var b strings.Builder
	err := summary(&b, []Verdict{
		{Case: "small", Name: "roost", Peer: "nginx", Its: "10.00 us", Ours: "6.00 us", Ratio: 0.6, Goal: Goal{CPU, 0.75, 0.6}, OK: "aim", P50x: 0.5, P99x: 0.7, P999x: 2},
		{Case: "idle", Name: "roost-std", Its: "-", Ours: "9.00 KiB", Goal: Goal{Memory, 0.6, 0.3}, OK: "NO"},
	})
	const want = `case              better peer       its     Roost  ratio      must       aim  ok?  p50 x  p99 x  p99.9 x
small      roost        nginx  10.00 us   6.00 us   0.60      0.75      0.60  aim   0.50   0.70     2.00
idle   roost-std            -         -  9.00 KiB      -  0.60 KiB  0.30 KiB   NO      -      -        -
`
	if b.String() != want || err != nil {
		t.Errorf("%v, got\n%swant\n%s", err, b.String(), want)
	}
}

func TestTheBetterPeerOfACaseAboutLatencyIsTheQuickerOne(t *testing.T) {
	r := Result{Case: Case{Goal: Goal{Of: P99}}, Rows: []Row{
		{Name: "cheap", Peer: true, Rounds: []Sample{{Requests: 1, CPU: 1, P99: 9}}},
		{Name: "quick", Peer: true, Rounds: []Sample{{Requests: 1, CPU: 9, P99: 1}}},
	}}
	r.settle()
	if r.Better != "quick" {
		t.Errorf("better peer: %q", r.Better)
	}
}

func TestTheSlowestPeerSetsThePaceOfOpenLoops(t *testing.T) {
	r := Result{Rows: []Row{
		{Peer: true, Median: Sample{RPS: 50}},
		{Peer: true, Median: Sample{RPS: 40}},
		{Peer: true, Median: Sample{RPS: 1}, Invalid: "no affinity"},
		{Median: Sample{RPS: 30}},
	}}
	if got := r.slowest(); got != 40 {
		t.Errorf("%g, want 40", got)
	}
	if alone := (&Result{Rows: r.Rows[3:]}); alone.slowest() != 30 {
		t.Errorf("without a peer: %g, want 30", alone.slowest())
	}
	if got := (&Result{}).slowest(); got != 0 {
		t.Errorf("of nothing: %g", got)
	}
}
