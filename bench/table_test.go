package main

import (
	"strings"
	"testing"
)

func TestTheTableNamesTheBetterPeerAndMarksInvalidRows(t *testing.T) {
	r := Result{Case: Case{Name: "small", About: "100 B"}, Better: "nginx", Rows: []Row{
		{Name: "haproxy", CPUx: 1.1, P50x: 1.5, P99x: 2, P999x: 3, Rounds: make([]Sample, 3), Median: Sample{RPS: 43400, CPU: 12.694, User: 4.31, Sys: 8.38, P50: 758, P99: 24900, P999: 2.5e6,
			RSS: 15 << 20, Others: 0.123}},
		{Name: "nginx", CPUx: 1, P99x: 1, Median: Sample{RPS: 9, CPU: 8, P50: 1234, Errors: 12}, Invalid: "no affinity: why"},
	}}
	const want = `== small: 100 B (median of 3; x: ratio to nginx in the same round)
         req/s  CPU us/req  user   sys      p50      p99   p99.9  errors  RSS MiB  others  CPU x  p50 x  p99 x  p99.9 x
haproxy  43400       12.69  4.31  8.38   758 us  24.9 ms  2.50 s       0       15    12 %   1.10   1.50   2.00     3.00
nginx        9        8.00  0.00  0.00  1.23 ms     0 us    0 us      12        0     0 %   1.00      -   1.00        -  INVALID: no affinity: why
Others used up to 12 % of the machine meanwhile: these figures are rough.

`
	var b strings.Builder
	if err := table(&b, r); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestEveryKindOfCaseShowsWhatItMeasures(t *testing.T) {
	for kind, want := range map[Kind]string{
		Idle: `       connections  KiB each  RSS MiB  lost
roost         4000      0.50        3     7
`,
		Flooded: `       connections  served  served again  503  closed  silent  RSS MiB
roost         4000      11            15   12      13      14        3
`,
		Slow: `       req/s  CPU us/req  user   sys   p50   p99  p99.9  errors  p99 alone  slow  cut  RSS MiB  others  CPU x  p50 x  p99 x  p99.9 x
roost      0        0.00  0.00  0.00  0 us  0 us   0 us       7       9 us     5    6        3     0 %      -      -      -        -
`,
	} {
		r := Result{Case: Case{Kind: kind}, Rows: []Row{{Name: "roost", Median: Sample{Requests: 4000, Errors: 7, RSS: 3 << 20, Memory: 512,
			AloneP99: 9, Slow: 5, Cut: 6, Served: 11, Refused: 12, Closed: 13, Silent: 14, Kept: 15}}}}
		var b strings.Builder
		if err := table(&b, r); err != nil {
			t.Fatal(err)
		}
		if _, got, _ := strings.Cut(b.String(), "\n"); got != want+"\n" {
			t.Errorf("%s: got\n%swant\n%s", kind, got, want)
		}
	}
}
