package std

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"roost"
	"roost/internal/carry"
	"roost/internal/h1"
)

// upload sends a request's body to a node. What came together with the head is sent by the exchange's goroutine; when
// more is to come, another one sends it, because the node may answer at any time: with an error before it read all, or
// with a stream of its own.
//
// What was sent is held until it is too much, so that another node can be tried.
type upload struct {
	k     *work
	out   []byte // what is to be written next, in the node's framing
	held  []byte // all that was written, while whole
	whole bool

	running bool // a goroutine runs; done will have an element
	broken  bool // the node takes no more; to be read when not running
	done    chan struct{}
	stop    atomic.Bool
	read    atomic.Bool  // the whole body has come
	sent    atomic.Int64 // when the node had it all, in Unix nanoseconds; 0: not yet
	moved   atomic.Int64 // when something of it came last
	pace    carry.Pace

	// Why the client's side failed; to be read when not running.
	fault roost.Fault
	err   error
}

// begin makes the upload ready for a new exchange.
func (u *upload) begin(k *work) {
	u.k, u.whole, u.running = k, true, false
	u.held = u.held[:0]
	u.moved.Store(0)
	u.pace = carry.Pace{Rate: k.set.MinBodyRate, Grace: k.set.BodyTimeout}
}

// first appends what another attempt sent already and what has been read since, if it is little. The rest is for the
// goroutine: who wrote much before reading could wait for a node that does the same.
func (u *upload) first(dst []byte) ([]byte, error) {
	u.stop.Store(false)
	u.sent.Store(0)
	u.broken, u.fault, u.err = false, roost.NoFault, nil
	u.out = append(u.out[:0], u.held...)
	if err := u.next(); err != nil || len(u.out) > smallBuffer {
		return dst, err
	}
	dst = append(dst, u.out...)
	u.out = u.out[:0]
	return dst, nil
}

// next appends to out what the pending bytes mean for the node. It is held for another attempt, if all before it was.
func (u *upload) next() error {
	w, mark := &u.k.c.w, len(u.out)
	var used int
	var err error
	u.out, used, err = u.k.x.In.Next(u.out, w.pending())
	w.take(used)
	fresh := u.out[mark:]
	if u.whole = u.whole && len(u.held)+len(fresh) <= u.k.pool.ReplayBody; u.whole {
		u.held = append(u.held, fresh...)
	}
	u.read.Store(u.k.x.In.Body.Done())
	return err
}

// start sends the rest, if there is one.
func (u *upload) start() {
	switch {
	case u.broken:
	case u.read.Load() && len(u.out) == 0:
		u.sent.Store(1)
	default:
		u.running = true
		go u.run()
	}
}

// left is how much of d the node has from now on, when its time begins with the end of the body, which has limits of its own.
func (u *upload) left(d time.Duration, now time.Time) time.Duration {
	switch at := u.sent.Load(); {
	case !u.running:
		return 0
	case at == 0:
		return d
	default:
		return time.Duration(at-now.UnixNano()) + d
	}
}

// lively tells whether something came in the last d. While both sides stream, neither's silence alone means anything.
func (u *upload) lively(d time.Duration) bool {
	return u.running && u.k.e.o.Now().UnixNano()-u.moved.Load() < int64(d)
}

// slow tells whether the client sends too slowly, after n bytes more. Once an answer comes, the body is one side of a
// conversation, and may wait for the other.
func (u *upload) slow(n int, now time.Time) bool {
	return u.pace.Moved(int64(n), now.UnixNano()) && u.k.moved.Load() == 0
}

// cancel stops the goroutine and waits for it. No byte of the client is lost.
func (u *upload) cancel() {
	u.stop.Store(true)
	u.k.c.nc.SetReadDeadline(unknown)
	u.k.n.conn.SetWriteDeadline(unknown)
	<-u.done
	u.running = false
	u.k.c.w.readBy = unknown
	u.k.n.writeBy = unknown
}

func (u *upload) run() {
	defer func() {
		if p := recover(); p != nil {
			u.fault, u.err = roost.FaultLocal, fmt.Errorf("bug: %v", p)
			u.k.e.Panics.Add(1)
			u.k.e.o.Log.Error("a bug ended an upload", "panic", p)
			u.k.n.conn.Close()
		}
		u.done <- struct{}{}
	}()
	fault, err := u.pump()
	switch fault {
	case roost.NoFault:
	case roost.FaultReset, roost.FaultTimeout:
		u.broken = true                        // the node's side: what it may have answered is read by the other goroutine
		u.sent.Store(u.k.e.o.Now().UnixNano()) // and has its time from now on
	default:
		u.fault, u.err = fault, err
		u.k.n.conn.Close() // the node must not take the body for complete, and the answer is not waited for
	}
}

var errBodySlow = errors.New("no more of the request body in time")

// pump sends until the body's end. Faults are the client's, or FaultReset and FaultTimeout of the node.
func (u *upload) pump() (roost.Fault, error) {
	k := u.k
	flow, from, to := &k.x.In, &k.c.w, &k.n.wire
	limit, nodeLimit := k.set.BodyTimeout, k.pool.BodyTimeout
	for {
		if len(u.out) > 0 {
			if _, err := to.write(u.out, nodeLimit, k.e.o.Now()); err != nil {
				return nodeFault(err), err
			}
			u.out = u.out[:0]
		}
		if fault, err := u.bulk(limit, nodeLimit); fault != roost.NoFault {
			return fault, err
		}
		if flow.Body.Done() {
			u.sent.Store(k.e.o.Now().UnixNano())
			return roost.NoFault, nil
		}
		if from.full || flow.Raw() > smallBuffer {
			from.grow(largeBuffer)
		}
		now := k.e.o.Now()
		from.readWithin(limit, now)
		// 1. cancel moves the deadline; 2. we move it back. So look again.
		if u.stop.Load() {
			return roost.NoFault, nil
		}
		u.pace.Wait(now.UnixNano())
		before := len(from.pending())
		err := from.fill(k.e.o.Now)
		now = k.e.o.Now()
		switch slow := u.slow(len(from.pending())-before, now); {
		case err == nil && slow:
			return roost.FaultClientSlow, carry.ErrTooSlow
		case err == nil:
		case err == errNudged, isTimeout(err) && k.lively(limit):
			continue
		case isTimeout(err):
			return roost.FaultClientSlow, errBodySlow
		case isEOF(err):
			return roost.FaultClientFrames, h1.ErrTruncated
		default:
			return roost.FaultClientGone, err
		}
		u.moved.Store(now.UnixNano())
		if err := u.next(); err != nil {
			return roost.FaultClientFrames, err
		}
	}
}
