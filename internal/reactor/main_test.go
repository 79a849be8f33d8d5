//go:build linux

package reactor

import (
	"os"
	"runtime"
	"testing"

	"roost/internal/enginetest"
)

// TestMain gives clients and nodes processors beside those that the loops keep, and checks that nothing of ours runs on when
// all tests have ended.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(runtime.NumCPU() + 2*loopsOfTests)
	code := m.Run()
	if code == 0 && enginetest.Leaks() {
		code = 1
	}
	os.Exit(code)
}
