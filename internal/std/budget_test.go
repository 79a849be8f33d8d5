package std

import (
	"testing"

	"roost/internal/enginetest"
)

func TestAKeepAliveRequestAllocatesNothing(t *testing.T) {
	if enginetest.Raced {
		t.Skip("the race detector makes pools forget")
	}
	ask := enginetest.Lean(t, open, false)
	for range 100 {
		ask()
	}
	least := 100.0
	for range 3 { // a collection in the midst empties the pools
		least = min(least, testing.AllocsPerRun(200, ask))
	}
	if least > 0 {
		t.Errorf("%v allocations", least)
	}
}

func BenchmarkKeepAliveRequest(b *testing.B) {
	ask := enginetest.Lean(b, open, false)
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}
