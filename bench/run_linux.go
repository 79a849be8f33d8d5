package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Report is what -json prints.
type Report struct {
	Date    string   `json:"date"`
	Kernel  string   `json:"kernel"`
	CPUs    int      `json:"cpus"`
	Go      string   `json:"go"`
	Rounds  int      `json:"rounds"`
	Seconds float64  `json:"seconds"`
	Results []Result `json:"results"`
	// Verdicts are how Roost did in all of them.
	Verdicts []Verdict `json:"verdicts"`
}

// found is a contestant on this machine.
type found struct {
	contestant
	path string
	said string // of itself
}

// harness is one invocation.
type harness struct {
	o     options
	dir   string // ours, removed at the end
	self  string
	cpus  []int
	files int // descriptors that a process may have, at most
	tls   certificate
	found []found
	most  float64                          // requests per second of the slowest peer in the case named saturation; 0: not measured yet
	note  func(format string, args ...any) // progress, for people
}

// child runs one of the bench's own children.
func child(what, arg string, out io.Writer) error {
	if what == childUpstream {
		return runUpstream(out)
	}
	var load Load
	if err := json.Unmarshal([]byte(arg), &load); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	if what == childDrip {
		return load.drip(context.Background(), os.Stdin, out)
	}
	return runLoad(load, out)
}

// lean are the settings of those of our children that block by raw calls in one thread, so that nothing may stop the
// world; what they allocate is bounded by their short lives. The others run as Go does, on one thread.
var (
	lean = []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1"}
	calm = []string{"GOMAXPROCS=1"}
)

func run(ctx context.Context, o options, out, errs io.Writer) (err error) {
	h := &harness{o: o, note: func(format string, args ...any) { fmt.Fprintf(errs, format+"\n", args...) }}
	if h.self, err = os.Executable(); err != nil {
		return fmt.Errorf("find our own program: %w", err)
	}
	if h.cpus, err = allowed(); err != nil {
		return err
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("look up how many files may be open: %w", err)
	}
	h.files = int(min(files.Max, maxFiles))
	if h.dir, err = os.MkdirTemp("", "roost-bench-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(h.dir)) }()
	if h.tls, err = makeCertificate(h.dir); err != nil {
		return err
	}
	if err := h.find(ctx); err != nil {
		return err
	}
	rep := Report{Date: time.Now().UTC().Format(time.DateOnly), Kernel: kernel(), CPUs: len(h.cpus), Go: runtime.Version(),
		Rounds: o.rounds, Seconds: o.seconds}
	if !o.json {
		fmt.Fprintf(out, "%s, Linux %s, %d CPUs, %s\n", rep.Date, rep.Kernel, rep.CPUs, rep.Go)
		for _, f := range h.found {
			if !f.tuned {
				fmt.Fprintf(out, "%s: %s\n", f.name, firstLine(f.said))
			}
		}
		fmt.Fprintln(out)
	}
	for _, c := range o.cases {
		if c.Pinned && len(h.cpus) < 2 {
			h.note("%s: skipped, it needs two CPUs", c.Name)
			continue
		}
		r, err := h.measure(ctx, c, o.rounds)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
		rep.Results = append(rep.Results, r)
		rep.Verdicts = append(rep.Verdicts, r.verdicts()...)
		if !o.json {
			if err := table(out, r); err != nil {
				return err
			}
		}
	}
	if o.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(rep)
	}
	return summary(out, rep.Verdicts)
}

// maxFiles bounds what contestants make tables for.
const maxFiles = 1 << 17

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "?"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// find looks for the contestants; peers that are missing are named and left out. Without Roost, if it is wanted, there
// is nothing to find out.
func (h *harness) find(ctx context.Context) error {
	built := "" // Roost is built once
	for _, c := range contestants {
		if len(h.o.only) > 0 && !slices.Contains(h.o.only, c.name) || len(h.o.only) == 0 && c.asked {
			continue
		}
		f := found{contestant: c, path: built}
		var err error
		if c.peer {
			if f.path, err = exec.LookPath(c.bin); err != nil {
				if !c.tuned {
					h.note("%s: skipped: %v", c.name, err)
				}
				continue
			}
		} else if built == "" {
			if built, err = h.build(ctx); err != nil {
				return err
			}
			f.path = built
		}
		if f.said, err = say(ctx, f.path, c.ask...); err != nil {
			return fmt.Errorf("ask %s what it is: %w: %s", f.path, err, firstLine(f.said))
		}
		h.found = append(h.found, f)
	}
	if len(h.found) == 0 {
		return errors.New("nothing to measure")
	}
	return nil
}

// say is what a program says.
func say(ctx context.Context, path string, args ...string) (string, error) {
	said, err := prepare(ctx, syscall.SIGKILL, nil, path, args...).CombinedOutput()
	return string(said), err
}

// build makes Roost from the module that the bench is part of.
func (h *harness) build(ctx context.Context) (string, error) {
	if h.o.roost != "" {
		return exec.LookPath(h.o.roost)
	}
	path := filepath.Join(h.dir, "roost")
	if said, err := say(ctx, "go", "build", "-o", path, "roost/cmd/roost"); err != nil {
		return "", fmt.Errorf("build roost: %w:\n%s", err, strings.TrimSpace(said))
	}
	return path, nil
}
