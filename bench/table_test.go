package main

import (
	"strings"
	"testing"
)

func TestTheTableNamesTheBetterPeerAndMarksInvalidRows(t *testing.T) {
	r := Result{Case: Case{Name: "small", About: "100 B"}, Better: "nginx", Rows: []Row{
		{Name: "haproxy", CPUx: 1.1, P99x: 2, Median: Sample{RPS: 43400, CPU: 12.694, User: 4.31, Sys: 8.38, P50: 758, P99: 24900, P999: 2.5e6,
			RSS: 15 << 20, Others: 0.123}},
		{Name: "nginx", CPUx: 1, P99x: 1, Median: Sample{RPS: 9, CPU: 8, P50: 1234, Errors: 12}, Invalid: "no affinity: why"},
	}}
	const want = `== small: 100 B (median of 3; x: ratio to nginx in the same round)
         req/s  CPU us/req  user   sys      p50      p99   p99.9  errors     RSS  others  CPU x  p99 x
haproxy  43400       12.69  4.31  8.38   758 us  24.9 ms  2.50 s       0  15 MiB    12 %   1.10   2.00
nginx        9        8.00  0.00  0.00  1.23 ms     0 us    0 us      12   0 MiB     0 %   1.00   1.00  INVALID: no affinity: why
Others used up to 12 % of the machine meanwhile: these figures are rough.

`
	var b strings.Builder
	if err := table(&b, r, 3); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
