package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running child. It leads a process group, which is killed with it, and it gets a signal when the bench
// dies, however that happens.
type process struct {
	cmd    *exec.Cmd
	words  *words
	exited chan struct{} // closed when it ended
}

const (
	// stopTimeout is how long a child may take to end when asked, before it is killed.
	stopTimeout = 3 * time.Second
	// maxWords is what is kept of a child's messages, for errors.
	maxWords = 4 << 10
)

// words keeps the first messages of a child. It is written by one goroutine, and read when the child ended.
type words struct{ bytes.Buffer }

func (w *words) Write(p []byte) (int, error) {
	w.Buffer.Write(p[:min(len(p), maxWords-w.Len())])
	return len(p), nil
}

// command prepares a child. The signal is what it gets when the bench dies: TERM for those who have children to end.
func prepare(ctx context.Context, sig syscall.Signal, env []string, bin string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: sig}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = stopTimeout
	return cmd
}

// spawn starts a prepared child on a CPU, or anywhere when cpu is negative.
func spawn(cmd *exec.Cmd, cpu int) (*process, error) {
	p := &process{cmd: cmd, words: &words{}, exited: make(chan struct{})}
	cmd.Stderr = p.words
	if err := onCPU(cpu, cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go func() {
		defer close(p.exited)
		cmd.Wait() // how it ended says its ProcessState
	}()
	return p, nil
}

// onCPU calls f with this thread, and so with what f starts, on one CPU. The caller is locked to its thread.
func onCPU(cpu int, f func() error) error {
	if cpu < 0 {
		return f()
	}
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("look up our CPUs: %w", err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("go to CPU %d: %w", cpu, err)
	}
	return errors.Join(f(), unix.SchedSetaffinity(0, &before))
}

// allowed returns the CPUs that this process may use.
func allowed() (cpus []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("look up our CPUs: %w", err)
	}
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}

// stop ends the child and its group, and waits for it.
func (p *process) stop() {
	pid := p.cmd.Process.Pid
	syscall.Kill(-pid, syscall.SIGTERM) // it may have ended
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
	}
	syscall.Kill(-pid, syscall.SIGKILL) // and what it may have left behind
	<-p.exited
}

// death says how the child ended.
func (p *process) death() error {
	return fmt.Errorf("%s ended: %v: %s", p.cmd.Path, p.cmd.ProcessState, strings.TrimSpace(p.words.String()))
}
