package main

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// heapShare is the part of the memory at hand beyond which collections come more often: the rest is for the kernel, whose
// socket buffers count against a container too.
const heapShare = 0.75

// boundMemory keeps the heap within the memory at hand, as far as the operator has not decided it by GOMEMLIMIT. GOGC stays
// Go's: requests on the loops allocate nothing, so that collecting seldom would save them nothing, and would let what TLS
// handshakes and HTTP/2 leave behind grow to a multiple of what lives.
func boundMemory() {
	if limit := memoryAtHand(os.DirFS("/")); limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(float64(limit) * heapShare))
	}
}

// memoryAtHand is how many bytes the process may use, by its control groups (cgroup v2, memory.max) and the machine; 0 where
// the system does not say.
func memoryAtHand(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	text, _ := fs.ReadFile(root, "proc/meminfo")
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kib); err == nil {
			least = kib << 10
		}
	}
	text, _ = fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		for dir := path.Join("sys/fs/cgroup", group); ok && strings.HasPrefix(dir, "sys/fs/cgroup"); dir = path.Dir(dir) {
			text, _ := fs.ReadFile(root, dir+"/memory.max")
			if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil { // else "max"
				least = min(least, limit)
			}
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}
