// Package upgrade starts the binary again beside the running process and gives it the sockets, so that a new version
// serves without a connection refused or dropped.
//
// Guarantee: a child that fails, hangs or dies before it is ready leaves nothing behind, and its parent as it was; it has
// served nothing, for it begins at its parent's word. A child that got the word lives on without its parent.
//
// Trap: between Start and the end of the old process both run. What one process alone may do, such as changing the store,
// the parent stops doing before Start.
package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// DefaultTimeout is how long a new process may take until it is ready: a second as a rule, but a large store on a slow
	// disk is checked for up to a minute. Whoever asked for the upgrade still waits then.
	DefaultTimeout = 90 * time.Second
	// endTimeout bounds the wait for what a killed child leaves to the system: its end, and the end of its output, which
	// a process that it started in a session of its own may hold open.
	endTimeout = 2 * time.Second
)

// Options are what a new process is started with. Its standard input and output are those of this process.
type Options struct {
	Path    string        // of the binary; "": as this process was called, looked up again
	Args    []string      // without the program's name; nil: those of this process
	Env     []string      // NAME=VALUE, on top of this process's environment
	Files   []*os.File    // its descriptors from 3 on
	Timeout time.Duration // until it is ready; 0: DefaultTimeout
}

// Child is the process that serves from now on.
type Child struct {
	Version string
	PID     int
	run     *run
}

// Ended is closed when the child has ended while this process still lives; Err then says how.
func (c *Child) Ended() <-chan struct{} { return c.run.ended }

// Err says how the child ended, once Ended is closed; nil: by itself, with status 0.
func (c *Child) Err() error { return c.run.err }

// Start runs the new binary and returns when it is ready and has been given the word to serve, or tells why it was not:
// in its own words if it had any, else with the last lines of its standard error, which go to ours all the while.
// The end of ctx ends a child that is not ready.
func Start(ctx context.Context, o Options) (*Child, error) {
	c, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start the new process: %w", err)
	}
	return c, nil
}

func start(ctx context.Context, o Options) (*Child, error) {
	if os.Getpid() == 1 {
		return nil, errors.New("this process is the first of its container, whose end would end the new one too; " +
			"replace the container instead")
	}
	if o.Path == "" {
		var err error
		if o.Path, err = binary(os.Args[0], os.Executable); err != nil {
			return nil, err
		}
	}
	if o.Args == nil {
		o.Args = os.Args[1:]
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	r, err := launch(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("it was not ready after %v", o.Timeout))
	defer cancel()
	c, err := r.await(ctx)
	if err != nil {
		r.stop()
		_, told := errors.AsType[reason](err)
		if words := r.said.String(); words != "" && !told {
			err = fmt.Errorf("%w; its last words:\n%s", err, words)
		}
		return nil, fmt.Errorf("%s: %w", o.Path, err)
	}
	r.settle()
	return c, nil
}

// binary finds what to run in place of this process: what it was called as, which follows a symbolic link that was
// turned and a file that was replaced; or else, where that leads nowhere, the path of the image it runs from.
func binary(called string, image func() (string, error)) (string, error) {
	path, err := exec.LookPath(called)
	if err != nil {
		if path, err = image(); err != nil {
			return "", fmt.Errorf("find the binary: %w", err)
		}
	}
	return filepath.Abs(path)
}

// run is a child process and our ends of its pipes.
type run struct {
	process *os.Process
	report  *os.File // what it says; see protocol.go
	answer  *os.File
	stderr  *os.File

	ended chan struct{} // closed when the process has been reaped
	err   error         // how it ended
	said  tail          // of its standard error; complete when quiet is closed
	quiet chan struct{}
}

// launch starts the process and the goroutines that belong to it: one reaps it, one passes on its standard error. Both
// end with it, or with this process.
func launch(o Options) (*run, error) {
	r := &run{ended: make(chan struct{}), quiet: make(chan struct{})}
	var theirs [3]*os.File // its ends: report, answer, stderr
	var err error
	for i, make := range []func() error{
		func() (err error) { r.report, theirs[0], err = os.Pipe(); return },
		func() (err error) { theirs[1], r.answer, err = os.Pipe(); return },
		func() (err error) { r.stderr, theirs[2], err = os.Pipe(); return },
	} {
		if err = make(); err != nil {
			break
		}
		defer theirs[i].Close()
	}
	if err != nil {
		r.close()
		return nil, err
	}
	first := 3 + len(o.Files)
	pipes, err := json.Marshal(pipes{Report: first, Answer: first + 1, Stderr: first + 2})
	if err != nil {
		panic(err) // numbers always have a form
	}
	cmd := &exec.Cmd{
		Path:       o.Path,
		Args:       append([]string{os.Args[0]}, o.Args...),
		Env:        append(append(os.Environ(), o.Env...), Variable+"="+string(pipes)),
		Stdin:      os.Stdin,
		Stdout:     os.Stdout,
		Stderr:     theirs[2],
		ExtraFiles: append(o.Files[:len(o.Files):len(o.Files)], theirs[0], theirs[1], os.Stderr),
		// A group of its own: killing it reaches what a wrapper started, and what is typed at our terminal does not reach it.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if err := cmd.Start(); err != nil {
		r.close()
		return nil, err
	}
	r.process = cmd.Process
	go func() {
		defer close(r.ended)
		r.err = cmd.Wait()
	}()
	go func() {
		defer close(r.quiet)
		defer r.stderr.Close()
		io.Copy(io.MultiWriter(&r.said, os.Stderr), r.stderr)
	}()
	return r, nil
}

func (r *run) close() {
	for _, f := range []*os.File{r.report, r.answer, r.stderr} {
		f.Close() // a nil file says so
	}
}

// await reads the child's report and, when it is ready, gives it the word.
func (r *run) await(ctx context.Context) (*Child, error) {
	defer context.AfterFunc(ctx, func() { r.report.SetReadDeadline(time.Unix(1, 0)) })()
	rep, err := readReport(r.report)
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, io.EOF): // nobody holds the pipe any more
		select {
		case <-r.ended:
			return nil, fmt.Errorf("it ended before it was ready: %v", describe(r.err))
		case <-time.After(endTimeout):
			return nil, errors.New("it does not report; is it Roost, and a version that can be upgraded to?")
		}
	case err != nil:
		return nil, fmt.Errorf("it reports what is not understood: %w", err)
	case rep.Error != "":
		return nil, reason(rep.Error)
	}
	if _, err := r.answer.WriteString(wordServe); err != nil {
		return nil, errors.New("it ended when it was ready")
	}
	return &Child{Version: rep.Version, PID: rep.PID, run: r}, nil
}

// reason is a failure in the child's own words.
type reason string

func (r reason) Error() string { return string(r) }

func describe(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// stop leaves nothing of a child that was not given the word. One that killing does not reach, because it made a session
// of its own, is told.
func (r *run) stop() {
	r.answer.WriteString(wordStop) // fails when it has ended already
	syscall.Kill(-r.process.Pid, syscall.SIGKILL)
	limit := time.After(endTimeout)
	for _, done := range []<-chan struct{}{r.ended, r.quiet} {
		select {
		case <-done:
		case <-limit:
		}
	}
	r.settle()
}

// settle ends the conversation; the process goes on, or has ended.
func (r *run) settle() {
	r.report.Close()
	r.answer.Close()
}
