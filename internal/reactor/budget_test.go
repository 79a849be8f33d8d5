//go:build linux

package reactor

import (
	"syscall"
	"testing"
	"time"

	"roost/internal/enginetest"
)

// yielding is a kernel that keeps no processor while it waits: testing.AllocsPerRun leaves the process only one, and a loop
// that holds it gives it to client and node every 10 ms.
type yielding struct{ kernel }

func (k yielding) wait(into []event, d time.Duration, _ bool) (int, syscall.Errno) {
	return k.kernel.wait(into, d, false)
}

func openYielding(t testing.TB, o enginetest.Options) enginetest.Engine {
	return openOn(t, o, func() (kernel, error) {
		s, err := openSystem()
		return yielding{s}, err
	})
}

func TestAKeepAliveRequestAllocatesNothing(t *testing.T) {
	ask := enginetest.Lean(t, openYielding)
	for range 100 {
		ask()
	}
	if n := testing.AllocsPerRun(500, ask); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKeepAliveRequest(b *testing.B) {
	ask := enginetest.Lean(b, openYielding)
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}
