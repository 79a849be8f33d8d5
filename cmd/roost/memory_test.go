package main

import (
	"testing"
	"testing/fstest"
)

func TestMemoryAtHandIsTheLeastOfMachineAndGroups(t *testing.T) {
	const machine = "MemTotal:       2000000 kB\nMemFree:         100 kB\n"
	for name, x := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"another system": {nil, 0},
		"no groups":      {map[string]string{"proc/meminfo": machine}, 2_048_000_000},
		"a container":    {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "134217728\n"}, 128 << 20},
		"a unit below a slice": {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/system.slice/roost.service\n",
			"sys/fs/cgroup/system.slice/roost.service/memory.max": "max\n", "sys/fs/cgroup/system.slice/memory.max": "1000000\n"}, 1_000_000},
		"more than there is": {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/memory.max": "9000000000000\n"}, 2_048_000_000},
		"version 1":          {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "5:memory:/x\n"}, 2_048_000_000},
	} {
		root := fstest.MapFS{}
		for file, text := range x.files {
			root[file] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memoryAtHand(root); got != x.want {
			t.Errorf("%s: %d, want %d", name, got, x.want)
		}
	}
}
