package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Usage is what processes used since they began.
type Usage struct {
	Run       int64 // nanoseconds on a CPU, of all threads, exact
	User, Sys int64 // clock ticks; the kernel samples this split, so only its proportion is used
	RSS       int64 // bytes
}

// usage sums over all threads of the given processes. Threads that ended are not in it: none of the contestants ends
// threads under a steady load.
func usage(pids []int) (Usage, error) {
	var u Usage
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		tasks, err := os.ReadDir(filepath.Join(dir, "task"))
		if err != nil {
			return u, fmt.Errorf("read the threads of process %d: %w", pid, err)
		}
		for _, task := range tasks {
			text, err := os.ReadFile(filepath.Join(dir, "task", task.Name(), "schedstat"))
			if os.IsNotExist(err) && task.Name() != strconv.Itoa(pid) {
				continue // ended since the directory was read
			}
			if err != nil {
				return u, fmt.Errorf("read the run time of process %d: %w", pid, err)
			}
			run, err := parseSchedstat(string(text))
			if err != nil {
				return u, err
			}
			u.Run += run
		}
		text, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			return u, fmt.Errorf("read the state of process %d: %w", pid, err)
		}
		st, err := parseStat(string(text))
		if err != nil {
			return u, err
		}
		u.User += st.User
		u.Sys += st.Sys
		u.RSS += st.Pages * int64(os.Getpagesize())
	}
	return u, nil
}

// memory is what processes hold in user memory that is theirs, in bytes: anonymous pages, not those of files.
func memory(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
		if err != nil {
			return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		n, err := parseRollup(string(text))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// parseRollup returns the anonymous memory of a smaps_rollup file (proc_pid_smaps(5)).
func parseRollup(text string) (int64, error) {
	for line := range strings.Lines(text) {
		v, ok := strings.CutPrefix(line, "Anonymous:")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("anonymous memory of smaps_rollup: %w", err)
		}
		return n << 10, nil
	}
	return 0, errors.New("smaps_rollup does not tell the anonymous memory")
}

// parseSchedstat returns the first figure of a schedstat file: nanoseconds spent on a CPU.
func parseSchedstat(text string) (int64, error) {
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return 0, fmt.Errorf("schedstat has %d fields instead of 3: %q", len(fields), text)
	}
	run, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("schedstat: %w", err)
	}
	return run, nil
}

// Machine is how many CPUs there are, and what all of them did since they began, in clock ticks.
type Machine struct {
	CPUs        int
	Busy, Total int64
}

// machine reads /proc/stat.
func machine() (Machine, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Machine{}, fmt.Errorf("read what the machine does: %w", err)
	}
	return parseMachine(string(text))
}

// parseMachine reads the lines "cpu" and "cpuN" of a stat file (proc_stat(5)). Time stolen by other guests is busy, too.
func parseMachine(text string) (m Machine, err error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 9 || !strings.HasPrefix(fields[0], "cpu") {
			continue
		}
		if fields[0] != "cpu" {
			m.CPUs++
			continue
		}
		for i, f := range fields[1:9] { // guest time, behind these, is in user time already
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return m, fmt.Errorf("cpu line of stat: %w", err)
			}
			m.Total += n
			if idle, wait := 3, 4; i != idle && i != wait {
				m.Busy += n
			}
		}
	}
	if m.CPUs == 0 || m.Total == 0 {
		return m, errors.New("stat has no cpu lines")
	}
	return m, nil
}

// others is the share of the machine that was used from m to to and is not ours, which ran for some nanoseconds of wall.
func (m Machine) others(to Machine, ours, wall int64) float64 {
	if to.Total <= m.Total || wall <= 0 {
		return 0
	}
	busy := float64(to.Busy-m.Busy) / float64(to.Total-m.Total)
	return max(busy-float64(ours)/float64(wall)/float64(to.CPUs), 0)
}

// Stat is what the bench needs of /proc/PID/stat.
type Stat struct {
	Parent    int
	User, Sys int64 // clock ticks
	Pages     int64 // resident
}

// parseStat reads a stat file (proc_pid_stat(5)). The name in parentheses may hold anything, parentheses too.
func parseStat(text string) (Stat, error) {
	i := strings.LastIndexByte(text, ')')
	fields := strings.Fields(text[i+1:])
	if i < 0 || len(fields) < 22 {
		return Stat{}, fmt.Errorf("stat is cut short: %q", text)
	}
	var st Stat
	var err error
	number := func(field int) int64 { // numbered as in the manual; the state after the name is 3
		n, e := strconv.ParseInt(fields[field-3], 10, 64)
		if e != nil && err == nil {
			err = fmt.Errorf("stat, field %d: %w", field, e)
		}
		return n
	}
	st.Parent = int(number(4))
	st.User, st.Sys, st.Pages = number(14), number(15), number(24)
	return st, err
}

// tree returns a process and all its descendants.
func tree(root int) ([]int, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	children := map[int][]int{}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join("/proc", d.Name(), "stat"))
		if err != nil {
			continue // ended
		}
		st, err := parseStat(string(text))
		if err != nil {
			return nil, err
		}
		children[st.Parent] = append(children[st.Parent], pid)
	}
	pids := []int{root}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids, nil
}
