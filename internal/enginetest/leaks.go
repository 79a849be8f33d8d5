package enginetest

import (
	"fmt"
	"runtime"
	"strings"
	"time"
)

// Leaks tells whether goroutines of ours are left when all tests have ended, and prints them. It is for a TestMain.
func Leaks() bool {
	buf := make([]byte, 4<<20)
	var ours []string
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); runtime.Gosched() {
		ours = ours[:0]
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "roost/internal/") && !strings.Contains(g, ".TestMain") {
				ours = append(ours, g)
			}
		}
		if len(ours) == 0 {
			return false
		}
	}
	fmt.Printf("%d goroutines are left:\n%s\n", len(ours), strings.Join(ours, "\n\n"))
	return true
}
