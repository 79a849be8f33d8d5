package std

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain checks that nothing of ours runs on when all tests have ended.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		code = leaks()
	}
	os.Exit(code)
}

func leaks() int {
	buf := make([]byte, 4<<20)
	var ours []string
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); runtime.Gosched() {
		ours = ours[:0]
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "roost/internal/") && !strings.Contains(g, "std.TestMain") {
				ours = append(ours, g)
			}
		}
		if len(ours) == 0 {
			return 0
		}
	}
	fmt.Printf("%d goroutines are left:\n%s\n", len(ours), strings.Join(ours, "\n\n"))
	return 1
}
