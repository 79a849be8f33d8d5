package std

import (
	"time"

	"roost"
	"roost/internal/carry"
	"roost/internal/h1"
)

// pays tells whether what is to come of a body is worth a pipe: it is long, or has been and has no announced end. The
// bytes must go on as they are, between two sockets, and none may be held here.
func pays(f *carry.Flow, to, from *wire) bool {
	raw := f.Raw()
	return (raw >= spliceFrom || raw < 0 && f.Bytes >= spliceFrom) && to.raw != nil && from.raw != nil &&
		len(from.pending()) == 0 && from.err == nil
}

// bulk moves the rest of an answer's body, or of its chunk, through a pipe. Without one it does nothing.
func (k *work) bulk() (roost.Fault, error) {
	flow, n, c := &k.x.Out, k.n, k.c
	if len(k.out) > 0 || !pays(flow, &c.w, &n.wire) {
		return roost.NoFault, nil
	}
	p, err := openPipe()
	if err != nil {
		return roost.NoFault, nil
	}
	defer p.close()
	n.rest()
	for raw := flow.Raw(); raw != 0; raw = flow.Raw() {
		n.readWithin(k.pool.BodyTimeout, k.e.o.Now())
		m, err := p.in(&n.wire, most(raw))
		switch {
		case isTimeout(err) && k.up.lively(k.pool.BodyTimeout):
			continue
		case isTimeout(err):
			return roost.FaultTimeout, errAnswerSlow
		case err != nil:
			return roost.FaultReset, err
		case m == 0 && flow.Body.EOF() == nil:
			return roost.NoFault, nil
		case m == 0:
			return roost.FaultReset, h1.ErrTruncated
		}
		k.moves()
		if err := p.out(&c.w, m, k.set.SendTimeout, &k.takes, k.e.o.Now); err != nil {
			return clientFault(err), err
		}
		flow.Skip(m)
	}
	return roost.NoFault, nil
}

func most(raw int64) int64 {
	if raw < 0 {
		return pipeSize
	}
	return min(raw, pipeSize)
}

// bulk moves the rest of a request's body, once it is too long to be held.
func (u *upload) bulk(limit, nodeLimit time.Duration) (roost.Fault, error) {
	k := u.k
	flow, from, to := &k.x.In, &k.c.w, &k.n.wire
	if u.whole || !pays(flow, to, from) {
		return roost.NoFault, nil
	}
	p, err := openPipe()
	if err != nil {
		return roost.NoFault, nil
	}
	defer p.close()
	from.rest()
	for raw := flow.Raw(); raw != 0; raw = flow.Raw() {
		now := k.e.o.Now()
		from.readWithin(limit, now)
		if u.stop.Load() {
			return roost.NoFault, nil
		}
		u.pace.Wait(now.UnixNano())
		m, err := p.in(from, most(raw))
		now = k.e.o.Now()
		slow := u.slow(int(m), now)
		switch {
		case isTimeout(err) && u.stop.Load():
			return roost.NoFault, nil
		case isTimeout(err) && k.lively(limit):
			continue
		case isTimeout(err):
			return roost.FaultClientSlow, errBodySlow
		case err != nil:
			return roost.FaultClientGone, err
		case m == 0:
			return roost.FaultClientFrames, h1.ErrTruncated
		case slow:
			return roost.FaultClientSlow, carry.ErrTooSlow
		}
		flow.Skip(m)
		u.moved.Store(now.UnixNano())
		u.read.Store(flow.Body.Done())
		if err := p.out(to, m, nodeLimit, new(carry.Pace), k.e.o.Now); err != nil {
			return nodeFault(err), err
		}
	}
	return roost.NoFault, nil
}
