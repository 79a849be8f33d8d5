package std

import (
	"errors"
	"time"

	"roost"
	"roost/internal/h1"
)

// relay passes the answer on: the head in out, then the body as it comes. What was read is written before the next
// read, so that events are never held back.
func (k *work) relay() (roost.Fault, error) {
	x, n := &k.x, k.n
	flow := &x.Out
	for {
		if err := k.plain(); err != nil {
			return clientFault(err), err
		}
		wrong := k.pass()
		if err := k.flush(); err != nil {
			return clientFault(err), err
		}
		if wrong != nil {
			return roost.FaultProtocol, wrong
		}
		if flow.Body.Done() {
			return roost.NoFault, nil
		}
		if fault, err := k.bulk(); fault != roost.NoFault || flow.Body.Done() {
			return fault, err
		}
		if n.full || flow.Raw() > smallBuffer {
			n.grow(largeBuffer)
		}
		err := k.listen(until(k.pool.BodyTimeout, k.e.o.Now()))
		switch {
		case err == nil:
			k.moves()
		case isTimeout(err) && k.up.lively(k.pool.BodyTimeout):
		case isTimeout(err):
			return roost.FaultTimeout, errAnswerSlow
		case err == errGone:
			return roost.FaultClientGone, err
		case isEOF(err) && flow.Body.EOF() == nil:
			return roost.NoFault, nil
		case isEOF(err):
			return roost.FaultReset, h1.ErrTruncated
		default:
			return roost.FaultReset, err
		}
	}
}

var errAnswerSlow = errors.New("no more of the response body in time")

// moves remembers that the answer moves, for an upload beside it.
func (k *work) moves() {
	if k.up.running {
		k.moved.Store(k.e.o.Now().UnixNano())
	}
}

// lively tells whether something of the answer came in the last d.
func (k *work) lively(d time.Duration) bool {
	return k.e.o.Now().UnixNano()-k.moved.Load() < int64(d)
}

// flush writes what is in out to the client.
func (k *work) flush() error {
	if len(k.out) == 0 {
		return nil
	}
	k.x.Answered = true
	err := k.send(k.out)
	k.out = k.out[:0]
	return err
}

// plain writes what is pending and goes on as it stands, when it need not be written behind anything.
func (k *work) plain() error {
	b := k.n.pending()
	m := k.x.Out.Plain(b)
	if m == 0 || len(k.out) > 0 {
		return nil
	}
	k.x.Answered = true
	err := k.send(b[:m])
	k.x.Out.Skip(int64(m))
	k.n.take(m)
	return err
}

// pass takes what is pending of the answer's body, and appends to out what it means for the client.
func (k *work) pass() error {
	var used int
	var err error
	k.out, used, err = k.x.Out.Next(k.out, k.n.pending())
	k.n.take(used)
	return err
}
