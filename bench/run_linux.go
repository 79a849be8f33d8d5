package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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
}

// found is a contestant on this machine.
type found struct {
	contestant
	path    string
	version string
}

// harness is one invocation.
type harness struct {
	o     options
	dir   string // ours, removed at the end
	self  string
	cpus  []int
	found []found
	note  func(format string, args ...any) // progress, for people
}

// child runs one of the bench's own children.
func child(what, arg string, out io.Writer) error {
	if what == "upstream" {
		return runUpstream(out)
	}
	var load Load
	if err := json.Unmarshal([]byte(arg), &load); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	return runLoad(load, out)
}

// lean are the settings of our own children: one thread, which blocks by raw calls, so that nothing may stop the
// world; what they allocate is bounded by their short lives.
var lean = []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1"}

func run(ctx context.Context, o options, out, errs io.Writer) (err error) {
	h := &harness{o: o, note: func(format string, args ...any) { fmt.Fprintf(errs, format+"\n", args...) }}
	if h.self, err = os.Executable(); err != nil {
		return fmt.Errorf("find our own program: %w", err)
	}
	if h.cpus, err = allowed(); err != nil {
		return err
	}
	if h.dir, err = os.MkdirTemp("", "roost-bench-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(h.dir)) }()
	if err := h.find(ctx); err != nil {
		return err
	}
	rep := Report{Date: time.Now().UTC().Format(time.DateOnly), Kernel: kernel(), CPUs: len(h.cpus), Go: runtime.Version(),
		Rounds: o.rounds, Seconds: o.seconds}
	if !o.json {
		fmt.Fprintf(out, "%s, Linux %s, %d CPUs, %s\n", rep.Date, rep.Kernel, rep.CPUs, rep.Go)
		for _, f := range h.found {
			if !f.tuned {
				fmt.Fprintf(out, "%s: %s\n", f.name, f.version)
			}
		}
		fmt.Fprintln(out)
	}
	for _, c := range o.cases {
		if c.Pinned && len(h.cpus) < 2 {
			h.note("%s: skipped, it needs two CPUs", c.Name)
			continue
		}
		r, err := h.measure(ctx, c)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
		rep.Results = append(rep.Results, r)
		if !o.json {
			if err := table(out, r, o.rounds); err != nil {
				return err
			}
		}
	}
	if o.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(rep)
	}
	return nil
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "?"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// find looks for the contestants; those that are missing are named and left out.
func (h *harness) find(ctx context.Context) error {
	for _, c := range contestants {
		if len(h.o.only) > 0 && !slices.Contains(h.o.only, c.name) {
			continue
		}
		path, err := exec.LookPath(c.bin)
		if !c.peer {
			path, err = h.build(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if !c.tuned {
				h.note("%s: skipped: %v", c.name, err)
			}
			continue
		}
		said, err := prepare(ctx, syscall.SIGKILL, nil, path, c.ask...).CombinedOutput()
		version, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
		if err != nil {
			h.note("%s: skipped: %v: %s", c.name, err, version)
			continue
		}
		h.found = append(h.found, found{c, path, version})
	}
	if len(h.found) == 0 {
		return errors.New("nothing to measure")
	}
	return nil
}

// build makes Roost from the module that the bench is part of.
func (h *harness) build(ctx context.Context) (string, error) {
	if h.o.roost != "" {
		return exec.LookPath(h.o.roost)
	}
	path := filepath.Join(h.dir, "roost")
	said, err := prepare(ctx, syscall.SIGKILL, nil, "go", "build", "-o", path, "roost/cmd/roost").CombinedOutput()
	if err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
		return "", fmt.Errorf("build it: %w: %s", err, first)
	}
	return path, nil
}

// runner is a contestant that is up.
type runner struct {
	found
	port    int
	process *process
	pids    []int // its tree
	row     *Row
}

// measure runs one case: all contestants are started, checked, then put under load one at a time, in rounds.
func (h *harness) measure(ctx context.Context, c Case) (Result, error) {
	res := Result{Case: c}
	own, proxy := -1, -1
	if c.Pinned {
		proxy, own = h.cpus[0], h.cpus[1]
	}
	ports, up, err := h.upstream(ctx, own)
	if err != nil {
		return res, err
	}
	defer up.stop()
	var runners []*runner
	for _, f := range h.found {
		if f.tuned && !c.Tuned {
			continue
		}
		r, err := h.start(ctx, f, c, ports, proxy)
		if err != nil {
			return res, err
		}
		defer r.process.stop()
		runners = append(runners, r)
		res.Rows = append(res.Rows, Row{Name: f.name, Version: f.version, Peer: f.peer})
	}
	for i, r := range runners {
		r.row = &res.Rows[i]
		if err := check(ctx, r.port); err != nil {
			r.row.Invalid = err.Error()
		}
	}
	for n := range h.o.rounds {
		for _, r := range runners {
			s, err := h.load(ctx, c, r, own, up.cmd.Process.Pid)
			if err != nil {
				return res, fmt.Errorf("%s: %w", r.name, err)
			}
			r.row.Rounds = append(r.row.Rounds, s)
		}
		h.note("%s: round %d of %d", c.Name, n+1, h.o.rounds)
	}
	res.settle()
	return res, nil
}

// upstream starts the nodes and returns their ports.
func (h *harness) upstream(ctx context.Context, cpu int) ([]int, *process, error) {
	cmd := prepare(ctx, syscall.SIGKILL, lean, h.self, "upstream", "")
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	p, err := spawn(cmd, cpu)
	if err != nil {
		return nil, nil, err
	}
	var ports []int
	if err := json.NewDecoder(said).Decode(&ports); err != nil {
		p.stop()
		return nil, nil, fmt.Errorf("read the upstream's ports: %w: %w", err, p.death())
	}
	return ports, p, nil
}

// start runs a contestant and waits until it takes connections.
func (h *harness) start(ctx context.Context, f found, c Case, ports []int, cpu int) (*runner, error) {
	dir, err := os.MkdirTemp(h.dir, f.name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args, files, env := f.start(setup{dir: dir, port: port, nodes: ports, threads: c.Threads, tuned: f.tuned, root: os.Geteuid() == 0})
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("write the configuration of %s: %w", f.name, err)
		}
	}
	p, err := spawn(prepare(ctx, syscall.SIGTERM, env, f.path, args...), cpu)
	if err != nil {
		return nil, err
	}
	r := &runner{found: f, port: port, process: p}
	if err := r.await(ctx); err != nil {
		p.stop()
		return nil, err
	}
	if r.pids, err = tree(p.cmd.Process.Pid); err != nil {
		p.stop()
		return nil, err
	}
	return r, nil
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// await polls until a request is answered: then workers are there, not only the listener.
func (r *runner) await(ctx context.Context) error {
	limit := time.NewTimer(checkTimeout)
	defer limit.Stop()
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for {
		cl, err := dial(ctx, r.port)
		if err == nil {
			_, _, err = cl.do(Case{Path: pathSmall}, "up")
			cl.conn.Close()
		}
		if err == nil {
			return nil
		}
		select {
		case <-r.process.exited:
			return r.process.death()
		case <-limit.C:
			return fmt.Errorf("%s does not answer within %v: %w", r.name, checkTimeout, err)
		case <-ctx.Done():
			return ctx.Err()
		case <-every.C:
		}
	}
}

// load puts a contestant under load once. Ours are the processes that have a part in it, beside it and the load generator.
func (h *harness) load(ctx context.Context, c Case, r *runner, cpu int, ours ...int) (Sample, error) {
	load := Load{Case: c, Port: r.port, Seconds: h.o.seconds, Warm: h.o.seconds / 4, PIDs: r.pids, Ours: ours}
	arg, err := json.Marshal(load)
	if err != nil {
		return Sample{}, fmt.Errorf("say what to do: %w", err)
	}
	// Twice what it should take, and what it may wait: a load generator that hangs must not hang the bench.
	ctx, cancel := context.WithTimeout(ctx, 2*seconds(load.Warm+load.Seconds)+dialTimeout+grace)
	defer cancel()
	cmd := prepare(ctx, syscall.SIGKILL, lean, h.self, "load", string(arg))
	var said strings.Builder
	cmd.Stdout = &said
	p, err := spawn(cmd, cpu)
	if err != nil {
		return Sample{}, err
	}
	<-p.exited
	if !cmd.ProcessState.Success() {
		return Sample{}, p.death()
	}
	var s Sample
	if err := json.Unmarshal([]byte(said.String()), &s); err != nil {
		return s, fmt.Errorf("read the load generator's sample: %w", err)
	}
	return s, nil
}
