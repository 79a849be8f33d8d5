// Package upgrade starts the binary again beside the running process and gives it the sockets, so that a new version
// serves without a connection refused or dropped.
//
// Guarantee: a child that fails, hangs or dies before it is ready leaves nothing behind, and its parent as it was. A child
// that is ready lives on without its parent.
//
// Trap: between Start and the end of the old process both run. What one process alone may do, such as changing the store,
// the parent stops doing before Start.
package upgrade

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// Variable is the environment variable by which a child knows its parent: which descriptors it reports on, is answered
// on, and has its real standard error on. Versions of Roost meet in it, see protocol.go.
const Variable = "ROOST_UPGRADE"

// DefaultTimeout is how long a new process may take until it is ready: reading tables and certificates takes seconds at
// most, and the operator waits.
const DefaultTimeout = 30 * time.Second

// Options are what a new process is started with.
type Options struct {
	Path    string     // of the binary; "": that of this process, found again as it was called
	Args    []string   // without the program's name; nil: those of this process
	Env     []string   // NAME=VALUE, on top of this process's environment
	Files   []*os.File // its descriptors from 3 on
	Timeout time.Duration
	Log     *slog.Logger // nil: discarded
}

// Child is the process that serves from now on.
type Child struct {
	Version string
	PID     int
	ended   chan struct{}
	err     error
}

// Ended is closed when the child has ended, while its parent still lives. That is bad news, and Err says more.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Err says how the child ended, once Ended is closed.
func (c *Child) Err() error { return c.err }

// Start runs the new binary and returns when it says that it is ready, or why it did not: in its own words if it had any,
// else with the last lines of its standard error, which go to ours all the while.
func Start(ctx context.Context, o Options) (*Child, error) { return nil, nil }

// Parent is the process that started this one to be replaced by it.
type Parent struct{}

// FromParent returns the process that this one replaces; nil when it was started in an ordinary way. It is called once, early.
func FromParent() *Parent { return nil }

// Ready says that everything is open and can serve, and waits for the parent's word to begin. An error means that the parent
// has given up, and that this process must end without having served. A nil *Parent needs no word.
func (p *Parent) Ready(version string) error { return nil }

// Fail says why this process cannot start. A nil *Parent is told nothing.
func (p *Parent) Fail(err error) {}
