package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// runner is a contestant that is up.
type runner struct {
	found
	target  target
	process *process
	pids    []int // its tree
	row     int   // of the result
}

// measure runs one case: all contestants are started, checked, then put under load one at a time, in rounds. Whoever
// cannot do it says so in its row, and spoils nobody else's.
func (h *harness) measure(ctx context.Context, c Case, rounds int) (Result, error) {
	c, err := h.fit(ctx, c)
	res := Result{Case: c}
	if err != nil {
		return res, err
	}
	own, proxy := -1, -1
	if c.Pinned {
		proxy, own = h.cpus[0], h.cpus[1]
	}
	if c.Kind == Idle || c.Kind == Flooded {
		rounds = 1 // what a proxy allocated once it keeps: only the first time tells
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
		row := Row{Name: f.name, Version: firstLine(f.said), Peer: f.peer}
		r, err := h.checked(ctx, f, c, ports, proxy)
		if ctx.Err() != nil {
			return res, ctx.Err()
		}
		if err != nil {
			row.Invalid = firstLine(err.Error())
		} else {
			defer r.process.stop()
			r.row = len(res.Rows)
			runners = append(runners, r)
		}
		res.Rows = append(res.Rows, row)
	}
	for n := range rounds {
		for _, r := range runners {
			row := &res.Rows[r.row]
			if row.Invalid != "" {
				continue // it does not do the work
			}
			s, err := h.sample(ctx, c, r, own, up.cmd.Process.Pid)
			if ctx.Err() != nil {
				return res, ctx.Err()
			}
			if err != nil {
				row.Invalid = firstLine(err.Error())
				continue
			}
			row.Rounds = append(row.Rounds, s)
		}
		h.note("%s: round %d of %d", c.Name, n+1, rounds)
	}
	res.settle()
	if c.Name == saturation {
		h.most = res.slowest()
	}
	return res, nil
}

// fit makes a case fit the machine.
func (h *harness) fit(ctx context.Context, c Case) (Case, error) {
	if c.Share > 0 {
		if h.most == 0 {
			i := slices.IndexFunc(cases, func(c Case) bool { return c.Name == saturation })
			if _, err := h.measure(ctx, cases[i], 1); err != nil {
				return c, fmt.Errorf("find out what the slowest peer can do: %w", err)
			}
		}
		if h.most == 0 {
			return c, fmt.Errorf("case %s finished no request", saturation)
		}
		c.Rate = c.Share * h.most
	}
	if most := (h.files - spareFiles) / 2; c.Kind == Idle && c.Conns > most {
		h.note("%s: %d connections instead of %d: no more files may be open", c.Name, most, c.Conns)
		c.Conns = most
	}
	if most := h.files - 2*spareFiles; c.Slow > most {
		h.note("%s: %d slow clients instead of %d: no more files may be open", c.Name, most, c.Slow)
		c.Slow = most
	}
	return c, nil
}

// spareFiles is how many descriptors are left for whatever else a process needs.
const spareFiles = 1000

// upstream starts the nodes and returns their ports.
func (h *harness) upstream(ctx context.Context, cpu int) ([]int, *process, error) {
	cmd := prepare(ctx, syscall.SIGKILL, lean, h.self, childUpstream, "")
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

// checked runs a contestant that does the work.
func (h *harness) checked(ctx context.Context, f found, c Case, ports []int, cpu int) (*runner, error) {
	r, err := h.start(ctx, f, c, ports, cpu)
	if err != nil {
		return nil, err
	}
	if err := check(ctx, r.target, c.Front); err != nil {
		r.process.stop()
		return nil, err
	}
	if c.Kind != Idle {
		return r, nil
	}
	// What it allocated to pass would be there for the connections, and hide what they cost.
	r.process.stop()
	return h.start(ctx, f, c, ports, cpu)
}

// start runs a contestant and waits until it takes connections.
func (h *harness) start(ctx context.Context, f found, c Case, ports []int, cpu int) (*runner, error) {
	if f.lacks != nil {
		if why := f.lacks(f.said, c); why != "" {
			return nil, errors.New(why)
		}
	}
	dir, err := os.MkdirTemp(h.dir, f.name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args, files, env := f.start(setup{name: f.name, dir: dir, port: port, nodes: ports, c: c, tuned: f.tuned, root: os.Geteuid() == 0,
		files: h.files, said: f.said, tls: h.tls})
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("write the configuration of %s: %w", f.name, err)
		}
	}
	p, err := spawn(prepare(ctx, syscall.SIGTERM, env, f.path, args...), cpu)
	if err != nil {
		return nil, err
	}
	r := &runner{found: f, target: target{port: port}, process: p}
	if c.Front == TLS {
		r.target.tls = clientTLS(h.tls.roots)
	}
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
		cl, err := r.target.dial(ctx, 0)
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

// sample measures a contestant once. Ours are the processes that have a part in it, beside it and our own child.
func (h *harness) sample(ctx context.Context, c Case, r *runner, cpu int, ours ...int) (Sample, error) {
	switch c.Kind {
	case Slow:
		return h.slow(ctx, c, r, cpu, ours...)
	case Idle:
		return h.load(ctx, Load{Case: c, Seconds: restSeconds, Warm: 0.5}, r, cpu, ours...)
	}
	return h.load(ctx, Load{Case: c, Seconds: h.o.seconds, Warm: h.o.seconds / 4}, r, cpu, ours...)
}

// restSeconds is how long idle connections rest before the memory they cost is read: long enough for what is freed late.
const restSeconds = 3

// slow measures a contestant alone, then beside slow clients.
func (h *harness) slow(ctx context.Context, c Case, r *runner, cpu int, ours ...int) (s Sample, err error) {
	load := Load{Case: c, Seconds: h.o.seconds, Warm: h.o.seconds / 4}
	alone, err := h.load(ctx, load, r, cpu, ours...)
	if err != nil {
		return s, err
	}
	crowd := Load{Case: c, Port: r.target.port}
	crowd.Case.Conns = c.Slow
	arg, err := json.Marshal(crowd)
	if err != nil {
		return s, fmt.Errorf("say what to do: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, load.limit()+crowdTimeout)
	defer cancel()
	cmd := prepare(ctx, syscall.SIGKILL, calm, h.self, childDrip, string(arg))
	in, err := cmd.StdinPipe()
	if err != nil {
		return s, fmt.Errorf("make a pipe: %w", err)
	}
	out, its, err := os.Pipe() // cmd's own would be closed when it ends, with its last words unread
	if err != nil {
		return s, fmt.Errorf("make a pipe: %w", err)
	}
	defer out.Close()
	cmd.Stdout = its
	p, err := spawn(cmd, cpu)
	its.Close()
	if err != nil {
		return s, err
	}
	defer p.stop()
	var d Drips
	told := json.NewDecoder(out)
	if err := told.Decode(&d); err != nil {
		p.stop()
		return s, fmt.Errorf("wait for slow clients: %w: %w", err, p.death())
	}
	if s, err = h.load(ctx, load, r, cpu, append(ours, cmd.Process.Pid)...); err != nil {
		return s, err
	}
	in.Close()
	if err := told.Decode(&d); err != nil {
		p.stop()
		return s, fmt.Errorf("ask what became of slow clients: %w: %w", err, p.death())
	}
	s.AloneP99, s.Slow, s.Cut = alone.P99, int64(d.Open), int64(d.Cut)
	s.Errors += alone.Errors
	s.Wrong += alone.Wrong
	return s, nil
}

// crowdTimeout bounds the opening of thousands of connections, TLS included.
const crowdTimeout = time.Minute

// limit is twice what a load should take, and what it may wait: a load generator that hangs must not hang the bench.
func (l *Load) limit() time.Duration {
	d := 2*seconds(l.Warm+l.Seconds) + dialTimeout + grace
	if l.Case.Kind == Idle || l.Case.Kind == Flooded {
		d += crowdTimeout
	}
	return d
}

// load puts a contestant under load once.
func (h *harness) load(ctx context.Context, load Load, r *runner, cpu int, ours ...int) (Sample, error) {
	load.Port, load.PIDs, load.Ours = r.target.port, r.pids, ours
	arg, err := json.Marshal(load)
	if err != nil {
		return Sample{}, fmt.Errorf("say what to do: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, load.limit())
	defer cancel()
	env := lean
	if c := load.Case; c.Front == TLS || c.Kind == Idle || c.Kind == Flooded {
		env = calm
	}
	cmd := prepare(ctx, syscall.SIGKILL, env, h.self, childLoad, string(arg))
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
