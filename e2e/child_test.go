package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// child is a program that a test started. It ends with the test at the latest.
type child struct {
	name   string
	cmd    *exec.Cmd
	stdout output
	stderr output
	gone   chan struct{} // closed when it has ended and all its output is here
}

// start runs cmd. Its output is kept, and shown when the test fails.
func start(t testing.TB, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{name: filepath.Base(cmd.Path), cmd: cmd, gone: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &c.stdout
	}
	cmd.Stderr = &c.stderr
	cmd.WaitDelay = 5 * time.Second // a grandchild may hold the pipes open
	tie(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", c.name, err)
	}
	go func() { // ends with the program, which the clean-up ends
		cmd.Wait()
		c.stdout.end()
		c.stderr.end()
		close(c.gone)
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			for _, o := range []*output{&c.stdout, &c.stderr} {
				if tail := o.tail(30); tail != "" {
					t.Logf("last output of %s:\n%s", c.name, tail)
				}
			}
		}
	})
	return c
}

// kill ends the program and whatever it started, at once, and waits until it is gone.
func (c *child) kill() {
	select {
	case <-c.gone:
	default:
		syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
		<-c.gone
	}
}

func (c *child) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("signal %v to %s: %v", sig, c.name, err)
	}
}

// wait returns the exit code, -1 after a signal.
func (c *child) wait(t testing.TB, limit time.Duration) int {
	t.Helper()
	select {
	case <-c.gone:
	case <-time.After(limit):
		t.Fatalf("%s still runs after %v", c.name, limit)
	}
	return c.cmd.ProcessState.ExitCode()
}

// listens waits until somebody listens at addr: for servers that do not say when they do.
func (c *child) listens(t testing.TB, addr string) {
	t.Helper()
	eventually(t, patience, func() string {
		select {
		case <-c.gone:
			t.Fatalf("%s has ended\n%s", c.name, c.stderr.tail(20))
		default:
		}
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return err.Error()
		}
		conn.Close()
		return ""
	})
}

// command runs a program to its end and returns its output and exit code.
func command(t testing.TB, limit time.Duration, dir, path string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	tie(cmd)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", filepath.Base(path), err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %s: not done after %v\n%s%s", filepath.Base(path), strings.Join(args, " "), limit, &out, &errs)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// maxLines bounds what is kept of one program's output.
const maxLines = 50_000

// output keeps a program's lines and wakes those who wait for one. The zero output is ready.
type output struct {
	mu    sync.Mutex // guards all below
	lines []string
	part  []byte
	ended bool
	more  chan struct{} // closed at the next change; nil: nobody waits
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.part = append(o.part, p...)
	for {
		i := bytes.IndexByte(o.part, '\n')
		if i < 0 {
			break
		}
		if len(o.lines) < maxLines {
			o.lines = append(o.lines, string(o.part[:i]))
		}
		o.part = o.part[i+1:]
	}
	o.wake()
	return len(p), nil
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.part) > 0 {
		o.lines = append(o.lines, string(o.part))
	}
	o.ended = true
	o.wake()
}

func (o *output) wake() {
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
}

// from returns the lines after the first n, whether there will be more, and a channel that is closed when there are.
func (o *output) from(n int) (lines []string, ended bool, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return o.lines[n:len(o.lines):len(o.lines)], o.ended, o.more
}

// await waits for n lines that match.
func (o *output) await(t testing.TB, n int, what string, match func(line string) bool) {
	t.Helper()
	limit := time.After(patience)
	for seen := 0; ; {
		lines, ended, more := o.from(seen)
		for _, l := range lines {
			if match(l) {
				if n--; n <= 0 {
					return
				}
			}
		}
		if seen += len(lines); ended {
			t.Fatalf("the program ended without: %s\n%s", what, o.tail(20))
		}
		select {
		case <-more:
		case <-limit:
			t.Fatalf("not seen within %v: %s\n%s", patience, what, o.tail(20))
		}
	}
}

func (o *output) tail(n int) string {
	lines, _, _ := o.from(0)
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// eventually waits for what an external program offers no event for. check says what is still amiss, "" when nothing.
func eventually(t testing.TB, limit time.Duration, check func() string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(limit); ; {
		amiss := check()
		if amiss == "" {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("after %v still: %s", limit, amiss)
		}
	}
}

// few reports the first errors of many alike, and how many there were in all.
type few struct {
	t testing.TB
	n int
}

func (f *few) Errorf(format string, args ...any) {
	f.t.Helper()
	if f.n++; f.n <= 5 {
		f.t.Errorf(format, args...)
	}
}

func (f *few) close() {
	if f.n > 5 {
		f.t.Errorf("and %d more", f.n-5)
	}
}
