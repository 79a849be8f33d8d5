//go:build linux

package reactor

import (
	"syscall"
	"time"

	"roost"
	"roost/internal/carry"
	"roost/internal/h1"
)

// pipes lends pipes, through which splice moves bytes from socket to socket. One that was lent and is not empty when it comes
// back is closed: its bytes would come out in somebody else's answer.
type pipes struct {
	free  []*pipe
	open  int
	again int64 // no more are made until then, by the monotonic clock
}

const (
	// spliceFrom is the body from which on a pipe pays: below, copying is as cheap.
	spliceFrom = 128 << 10
	// bulkFrom is how many bytes at a time make what a relay carries worth a pipe, and bulkUntil how few do not any more.
	bulkFrom, bulkUntil = 32 << 10, 8 << 10
	// maxPipes bounds a loop's pipes. Only what moves holds one, and a side that does not take what is in it; where all are
	// held, bytes are copied. Each is two descriptors.
	maxPipes = 64
	// minPipe is the least that a pipe should take. A user who has used up his share of pipe pages gets smaller ones, which
	// cost more than copying.
	minPipe = 64 << 10
	// pipePause is how long none are made after one was not to be had.
	pipePause = time.Second
)

// get lends an empty pipe; nil when there is none.
func (p *pipes) get(l *loop) *pipe {
	if n := len(p.free); n > 0 {
		q := p.free[n-1]
		p.free = p.free[:n-1]
		return q
	}
	if p.open >= maxPipes || l.mono < p.again {
		return nil
	}
	made, e := l.k.pipe()
	if e != 0 {
		p.again = l.mono + int64(pipePause)
		return nil
	}
	p.open++
	if made.size < minPipe {
		p.shut(l, &made)
		p.again = l.mono + int64(pipePause)
		return nil
	}
	return &made
}

func (p *pipes) put(l *loop, q *pipe) {
	if q.n > 0 {
		p.shut(l, q)
		return
	}
	p.free = append(p.free, q)
}

func (p *pipes) shut(l *loop, q *pipe) {
	l.k.close(q.r)
	l.k.close(q.w)
	p.open--
}

// close closes those that nobody uses.
func (p *pipes) close(l *loop) {
	for _, q := range p.free {
		p.shut(l, q)
	}
	p.free = nil
}

// pump moves at most limit bytes, and no more than a pipe takes, from one socket to another that is not blocked. What the other
// does not take stays in its pipe. It tells how many bytes from gave, and the errno of each side: EAGAIN of from says that an
// event will tell, errEnd that it has ended. Without a pipe ok is false, and nothing happened.
func (l *loop) pump(from, to *conn, limit int64) (n int, in, out syscall.Errno, ok bool) {
	p := l.pipes.get(l)
	if p == nil {
		return 0, 0, 0, false
	}
	n, in = l.k.splice(from.fd, p.w, int(min(limit, int64(p.size))))
	for in == syscall.EINTR {
		n, in = l.k.splice(from.fd, p.w, int(min(limit, int64(p.size))))
	}
	switch {
	case n > 0:
		to.pipe, p.n = p, n
		return n, 0, l.drain(to), true
	case in == 0:
		in = errEnd
	case in == syscall.EAGAIN:
		from.canRead = false // it is the socket that is empty, because the pipe is too
	}
	l.pipes.put(l, p)
	return 0, in, 0, true
}

// drain sends what is in the pipe, and gives the pipe back when it is empty.
func (l *loop) drain(c *conn) syscall.Errno {
	for p := c.pipe; p.n > 0; {
		n, e := l.k.splice(p.r, c.fd, p.n)
		switch {
		case e == syscall.EAGAIN:
			return 0
		case e == syscall.EINTR:
			continue
		case e == 0 && n == 0:
			return syscall.EIO // there is something in it
		case e != 0:
			return e
		}
		p.n -= n
	}
	l.pipes.put(l, c.pipe)
	c.pipe = nil
	return 0
}

// pays tells whether what is to come of a body is worth a pipe: it is long, or has been and has no announced end. The bytes
// must go on as they are, between two sockets, and none may be held here.
func pays(f *carry.Flow, from, to *conn) bool {
	raw := f.Raw()
	return (raw >= spliceFrom || raw < 0 && f.Bytes >= spliceFrom) && from.pend == nil && from.tls == nil && to.tls == nil
}

// rawOf is how many bytes of a body may be moved now.
func rawOf(f *carry.Flow) int64 {
	if n := f.Raw(); n >= 0 {
		return n
	}
	return pipeSize
}

// bulk moves an answer's body through a pipe, where that pays. It tells whether it did what there was to do in this turn.
func (l *loop) bulk(k *work) bool {
	c, n, flow := k.c, k.n, &k.x.Out
	if !pays(flow, n, c) {
		return false
	}
	for range readBudget {
		m, in, out, ok := l.pump(n, c, rawOf(flow))
		flow.Skip(int64(m))
		switch {
		case !ok:
			return false
		case in == syscall.EAGAIN:
			return true
		case in == errEnd:
			l.deliver(k, l.out[:0], nil, true)
			return true
		case in != 0:
			l.failed(k, roost.StageBody, roost.FaultReset, in)
			return true
		case out != 0:
			l.failed(k, roost.StageBody, roost.FaultClientGone, out)
			return true
		case flow.Body.Done():
			l.conclude(k, roost.StageDone, roost.NoFault, nil, l.reusable(k))
			return true
		}
		l.passingOn(k, k.set.BodyTimeout)
		if c.blocked() {
			return true // flushed comes back
		}
		if flow.Raw() == 0 {
			return false // framing, which is to be read
		}
	}
	l.later(n)
	return true
}

// bulkUp moves a request's body through a pipe, where that pays, and once it is too long to be held.
func (l *loop) bulkUp(k *work) bool {
	c, n, flow, u := k.c, k.n, &k.x.In, &k.upload
	if u.whole || !pays(flow, c, n) {
		return false
	}
	for range readBudget {
		m, in, out, ok := l.pump(c, n, rawOf(flow))
		flow.Skip(int64(m))
		u.read = flow.Body.Done()
		if m > 0 && l.sluggish(k, m) {
			return true
		}
		switch {
		case !ok:
			return false
		case in == syscall.EAGAIN:
			return true
		case in == errEnd:
			l.failed(k, roost.StageSend, roost.FaultClientFrames, h1.ErrTruncated)
			return true
		case in != 0:
			l.failed(k, roost.StageSend, roost.FaultClientGone, in)
			return true
		case out != 0:
			l.breakUpload(k)
			return true
		}
		l.sending(k)
		if n.blocked() || u.read {
			return true // flushed comes back, or the answer
		}
		if flow.Raw() == 0 {
			return false
		}
	}
	l.later(c)
	return true
}
