package std

import (
	"time"

	"golang.org/x/sys/unix"

	"roost/internal/carry"
)

// pipe moves bytes from one socket to another without their passing through our memory. It is empty between two calls
// of move, so nothing of one body can come out in another.
//
// net.TCPConn.ReadFrom would splice as well, but its deadlines are for the whole of what it moves: a slow client could
// not be told from one that stopped.
type pipe struct{ r, w int }

const (
	// pipeSize is asked for; the kernel's default of 64 KiB, when a user's share of pipe pages is used up, does as well.
	pipeSize = 256 << 10
	// spliceFrom is the body from which on a pipe pays: below, copying through one buffer is as cheap.
	spliceFrom = 128 << 10
)

func openPipe() (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	return &pipe{fds[0], fds[1]}, nil
}

func (p *pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}

// in takes at most n bytes from a socket, once there are some; 0 means that its end was reached.
func (p *pipe) in(from *wire, n int64) (moved int64, err error) {
	e := from.raw.Read(func(fd uintptr) bool {
		moved, err = splice(int(fd), p.w, n)
		return err != unix.EAGAIN // of the socket, because the pipe is empty
	})
	if e != nil {
		err = e
	}
	return max(moved, 0), err
}

// out gives all n bytes in the pipe to a socket; each stretch without progress may last for d, and all of them for what
// the pace allows.
func (p *pipe) out(to *wire, n int64, d time.Duration, pace *carry.Pace, now func() time.Time) error {
	t := now()
	for n > 0 {
		if within(d, t, &to.writeBy) {
			to.conn.SetWriteDeadline(to.writeBy)
		}
		pace.Wait(t.UnixNano())
		var moved int64
		var err error
		e := to.raw.Write(func(fd uintptr) bool {
			moved, err = splice(p.r, int(fd), n)
			return err != unix.EAGAIN
		})
		if e != nil {
			return e
		}
		if err != nil {
			return err
		}
		if t = now(); pace.Moved(moved, t.UnixNano()) {
			return carry.ErrTooSlow
		}
		n -= moved
	}
	return nil
}

func splice(from, to int, n int64) (int64, error) {
	for {
		moved, err := unix.Splice(from, nil, to, nil, int(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err != unix.EINTR {
			return moved, err
		}
	}
}
