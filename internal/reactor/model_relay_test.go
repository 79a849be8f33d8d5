//go:build linux

package reactor

import (
	"bytes"
	"fmt"
	"strings"
)

// fakeEnd is one side of what is relayed: it says its part in pieces, ends when it has, and hears what the other side says. What it
// hears must be that, and all of it where the connection ends in order.
type fakeEnd struct {
	w     *world
	f     *fakeFD
	id    string
	peer  *fakeEnd // nil: the node does not know yet whom it speaks with, and says nothing
	say   []byte
	sent  int
	ended bool
	got   []byte
	deaf  bool
	loose bool // nobody has heard yet that the protocol is another
	done  bool // it saw an end, in order or not
}

// streamHead is what a raw connection begins with, so that its node knows whose it is.
const streamHead = "#%05d|"

func (w *world) newEnd(id string, first string) *fakeEnd {
	e := &fakeEnd{w: w, id: id, say: append([]byte(first), pattern(id, w.size())...), deaf: w.odds(15)}
	w.ends = append(w.ends, e)
	return e
}

// meet makes the node's side of the stream of a client.
func (w *world) meet(id string, f *fakeFD) *fakeEnd {
	for _, e := range w.ends {
		if e.id == id && (e.peer == nil || e.peer.loose) { // an upgrade is a request, and may be tried again
			n := w.newEnd(id+"'s", "")
			n.f, n.peer, e.peer = f, e, n
			return n
		}
	}
	w.t.Errorf("a node: a stream of %q, whom it has or nobody knows", id)
	return w.newEnd(id, "")
}

func (e *fakeEnd) act() {
	w := e.w
	if e.f.closed || e.f.reset != 0 {
		return
	}
	if w.odds(400) {
		w.tell("%s breaks off", e.id)
		e.f.crash()
		return
	}
	e.read()
	switch {
	case e.ended:
	case e.sent < len(e.say):
		if w.odds(200) {
			e.say = e.say[:e.sent]
		} else if len(e.f.in) < 64<<10 {
			p := w.piece(e.say[e.sent:])
			e.sent += len(p)
			e.f.arrive(p)
			if e.sent == len(e.say) && w.rnd.IntN(3) == 0 { // in one event
				e.ended = true
				e.f.end()
			}
		}
	case w.rnd.IntN(10) == 0:
		e.ended = true
		e.f.end()
	}
}

// read takes what came.
func (e *fakeEnd) read() {
	w, f := e.w, e.f
	if e.deaf && !f.closed {
		return
	}
	n := 1 + w.rnd.IntN(200_000)
	if f.closed {
		n = len(f.out)
	}
	e.got = append(e.got, f.drain(n)...)
	var all []byte
	whole := false
	if e.peer != nil {
		all, whole = e.peer.say, e.peer.ended
	}
	if !bytes.HasPrefix(all, e.got) {
		w.t.Errorf("%s hears %d bytes that nobody said: %.60q", e.id, len(e.got), e.got)
	}
	if e.done || len(f.out) > 0 || !f.shut && !f.closed {
		return
	}
	e.done = true
	w.tell("%s ends after %d of %d bytes; aborted %v", e.id, len(e.got), len(all), f.aborted)
	if !f.aborted && f.reset == 0 && !w.cuts && !e.loose && e.peer != nil && (!whole || len(e.got) < len(all)) {
		w.t.Errorf("%s hears %d of %d bytes, and then an end in order; said all: %v", e.id, len(e.got), len(all), whole)
	}
	if !f.aborted && whole && len(e.got) == len(all) {
		w.relayed++
	}
}

// upgraded looks for the answer to a client's upgrade, and lets it go on as a stream.
func (c *fakeClient) upgraded() bool {
	head, rest, ok := bytes.Cut(c.got, []byte("\r\n\r\n"))
	for ok && strings.HasPrefix(string(head), "HTTP/1.1 103 ") {
		head, rest, ok = bytes.Cut(rest, []byte("\r\n\r\n"))
	}
	if !ok || !strings.HasPrefix(string(head), "HTTP/1.1 101 ") {
		return false
	}
	c.next, c.got, c.up, c.end.got = len(c.asked), nil, true, bytes.Clone(rest)
	if c.end.peer != nil {
		c.end.peer.loose = false
	}
	return true
}

// tunnel has a node switch protocols.
func (n *fakeNode) tunnel(id string) {
	n.end = n.w.meet(id, n.f)
	n.end.got, n.got, n.end.loose = n.got, nil, true
	n.say = fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nX-Id: %s\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", id)
}

// raw has a node find out whose stream it has.
func (n *fakeNode) raw() {
	if size := len(fmt.Sprintf(streamHead, 0)); len(n.got) >= size {
		n.end = n.w.meet(string(n.got[:size]), n.f)
		n.end.got, n.got = n.got, nil
	}
}
