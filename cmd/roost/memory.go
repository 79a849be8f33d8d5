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

const (
	// gcPercent lets the heap grow to five times what lives before it is collected. A balancer's heap is small, and a
	// collection competes with traffic for CPUs.
	gcPercent = 400
	// heapShare is the part of the memory at hand beyond which collections come more often: the rest is for the kernel,
	// whose socket buffers count against a container too.
	heapShare = 0.75
)

// collectSeldom trades memory that is there for CPU, as far as the operator has not decided it: by GOGC and GOMEMLIMIT, which
// mean what they mean for every Go program.
func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
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
