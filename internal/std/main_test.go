package std

import (
	"os"
	"testing"

	"roost/internal/enginetest"
)

// TestMain checks that nothing of ours runs on when all tests have ended.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && enginetest.Leaks() {
		code = 1
	}
	os.Exit(code)
}
