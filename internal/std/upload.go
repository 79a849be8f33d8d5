package std

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"roost"
	"roost/internal/h1"
)

// upload sends a request's body to a node. What came together with the head is sent by the exchange's goroutine; when
// more is to come, another one sends it, because the node may answer at any time: with an error before it read all, or
// with a stream of its own.
//
// What was sent is held until it is too much, so that another node can be tried.
type upload struct {
	k     *work
	out   []byte
	held  []byte // all that was sent, in the node's framing, while whole
	whole bool

	running bool // a goroutine runs; done will have an element
	broken  bool // the node takes no more; to be read when not running
	done    chan struct{}
	stop    atomic.Bool
	read    atomic.Bool  // the whole body has come
	sent    atomic.Int64 // when the node had it all, in Unix nanoseconds; 0: not yet

	// Why the client's side failed; to be read when not running.
	fault roost.Fault
	err   error
}

// begin makes the upload ready for a new exchange.
func (u *upload) begin(k *work) {
	u.k, u.whole, u.running = k, true, false
	u.held = u.held[:0]
}

// first appends what another attempt sent already and what has been read since.
func (u *upload) first(dst []byte) ([]byte, error) {
	u.stop.Store(false)
	u.sent.Store(0)
	u.broken, u.fault, u.err = false, roost.NoFault, nil
	dst = append(dst, u.held...)
	mark := len(dst)
	dst, err := u.next(dst)
	u.hold(dst[mark:])
	return dst, err
}

// next appends what the pending bytes mean for the node.
func (u *upload) next(dst []byte) ([]byte, error) {
	w := &u.k.c.w
	dst, used, err := u.k.x.In.Next(dst, w.pending())
	w.take(used)
	return dst, err
}

// hold keeps b for another attempt, if all before it was kept.
func (u *upload) hold(b []byte) {
	if u.whole = u.whole && len(u.held)+len(b) <= u.k.x.Pool.Settings.ReplayBody; u.whole {
		u.held = append(u.held, b...)
	}
}

// start sends the rest, if there is one.
func (u *upload) start() {
	done := u.k.x.In.Body.Done()
	u.read.Store(done)
	switch {
	case u.broken:
	case done:
		u.sent.Store(1)
	default:
		u.running = true
		go u.run()
	}
}

// late tells whether the node has had the whole body for d.
func (u *upload) late(d time.Duration, now time.Time) bool {
	at := u.sent.Load()
	return !u.running || at != 0 && now.UnixNano()-at >= int64(d)
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
		u.broken = true // the node's side: what it may have answered is read by the other goroutine
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
	limit, set := k.set.BodyTimeout, &k.x.Pool.Settings
	for !flow.Body.Done() {
		if fault, err := u.bulk(limit, set.BodyTimeout); fault != roost.NoFault {
			return fault, err
		}
		if flow.Body.Done() {
			break
		}
		if from.full || flow.Raw() > smallBuffer {
			from.grow(largeBuffer)
		}
		from.readWithin(limit, k.e.o.Now())
		// 1. cancel moves the deadline; 2. we move it back. So look again.
		if u.stop.Load() {
			return roost.NoFault, nil
		}
		switch err := from.fill(k.e.o.Now); {
		case err == nil:
		case err == errNudged:
			continue
		case isTimeout(err):
			return roost.FaultClientSlow, errBodySlow
		case isEOF(err):
			return roost.FaultClientFrames, h1.ErrTruncated
		default:
			return roost.FaultClientGone, err
		}
		var err error
		if u.out, err = u.next(u.out[:0]); err != nil {
			return roost.FaultClientFrames, err
		}
		u.read.Store(flow.Body.Done())
		u.hold(u.out)
		if _, err := to.write(u.out, set.BodyTimeout, k.e.o.Now()); err != nil {
			return nodeFault(err), err
		}
	}
	u.sent.Store(k.e.o.Now().UnixNano())
	return roost.NoFault, nil
}
