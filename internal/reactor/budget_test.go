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
	for secure, most := range map[bool]float64{false: 0, true: 2} { // crypto/tls does, 24 bytes for each record that it reads: here and in the client
		if secure && enginetest.Raced {
			continue // crypto/tls has pools, which then forget
		}
		ask := enginetest.Lean(t, openYielding, secure)
		for range 100 {
			ask()
		}
		if n := testing.AllocsPerRun(500, ask); n > most {
			t.Errorf("%v allocations, over TLS: %v", n, secure)
		}
	}
}

func BenchmarkKeepAliveRequest(b *testing.B) {
	ask := enginetest.Lean(b, openYielding, false)
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}
