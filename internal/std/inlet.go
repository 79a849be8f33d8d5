package std

import (
	"io"
	"os"
	"sync"
	"time"
)

// inlet is a way for bytes from one goroutine to another, unbuffered, whose reader can be woken by its deadline and go on
// later. It is what net.Pipe is in one direction, with 3 allocations for 14.
type inlet struct {
	mu     sync.Mutex // guards all below
	turn   sync.Cond  // something changed
	given  []byte     // and not read yet; the writer waits until it is
	closed bool
	by     time.Time   // the reader's deadline; zero: none
	alarm  *time.Timer // wakes it then
}

func newInlet() *inlet {
	in := &inlet{}
	in.turn.L = &in.mu
	return in
}

// Write returns when all was read, or with io.ErrClosedPipe.
func (in *inlet) Write(b []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.given = b
	in.turn.Broadcast()
	for len(in.given) > 0 && !in.closed {
		in.turn.Wait()
	}
	n := len(b) - len(in.given)
	in.given = nil
	if n < len(b) {
		return n, io.ErrClosedPipe
	}
	return n, nil
}

// Read gives io.EOF after Close, whichever side called it.
func (in *inlet) Read(b []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for {
		switch {
		case in.closed:
			return 0, io.EOF
		case !in.by.IsZero() && !time.Now().Before(in.by): // whatever there is, as on a socket
			return 0, os.ErrDeadlineExceeded
		case len(in.given) > 0:
			n := copy(b, in.given)
			if in.given = in.given[n:]; len(in.given) == 0 {
				in.turn.Broadcast()
			}
			return n, nil
		}
		in.turn.Wait()
	}
}

// SetReadDeadline bounds reads, also one that waits.
func (in *inlet) SetReadDeadline(t time.Time) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.by = t
	switch {
	case in.closed, t.IsZero():
	case in.alarm == nil:
		in.alarm = time.AfterFunc(time.Until(t), in.wake)
	default:
		in.alarm.Reset(time.Until(t))
	}
	return nil
}

func (in *inlet) wake() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.turn.Broadcast()
}

func (in *inlet) Close() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	if in.alarm != nil {
		in.alarm.Stop()
	}
	in.turn.Broadcast()
	return nil
}
