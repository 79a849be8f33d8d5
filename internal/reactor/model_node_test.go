//go:build linux

package reactor

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// fakeNode is one connection to a node.
type fakeNode struct {
	w     *world
	f     *fakeFD
	got   []byte
	seen  int    // bytes of got that were looked at
	say   []byte // what is not yet said
	last  bool   // it ends when all is said
	mute  bool   // and then nothing more
	over  bool
	early bool     // it answered before it had the whole request
	ahead string   // the request that it answers while it comes
	end   *fakeEnd // of a stream
}

func (w *world) called(to string) *fakeFD {
	if w.odds(12) {
		return nil
	}
	n := &fakeNode{w: w, f: &fakeFD{room: w.window()}}
	n.f.actor = n
	w.nodes = append(w.nodes, n)
	return n.f
}

func (n *fakeNode) act() {
	w := n.w
	if n.over || n.f.pending {
		return
	}
	if w.odds(500) {
		n.f.crash()
		n.over = true
		return
	}
	if n.end == nil {
		n.look()
	}
	switch {
	case len(n.say) > 0:
		if len(n.f.in) < 256<<10 {
			p := w.piece(n.say)
			n.say = n.say[len(p):]
			n.f.arrive(p)
		}
	case n.end != nil:
		n.end.act()
	case n.mute:
	case n.last && !n.f.eof:
		n.f.end()
	case len(n.got) == 0 && w.odds(60):
		n.last = true // while it is idle
	}
}

// look takes what the loop has sent, and answers whole requests.
func (n *fakeNode) look() {
	w := n.w
	n.got = append(n.got, n.f.drain(1+w.rnd.IntN(200_000))...)
	if n.early || n.last || len(n.say) > 0 || len(n.got) == n.seen && !n.f.closed {
		return
	}
	n.seen = len(n.got)
	if len(n.got) > 0 && n.got[0] == streamHead[0] {
		n.raw()
		return
	}
	if !bytes.Contains(n.got, []byte("\r\n\r\n")) {
		return
	}
	src := bytes.NewReader(n.got)
	r := bufio.NewReaderSize(src, 16)
	req, err := http.ReadRequest(r)
	if err != nil {
		w.t.Errorf("a node: %v in %q", err, n.got[:min(len(n.got), 300)])
		return
	}
	id := req.Header.Get("X-Id")
	part := strings.Split(req.URL.Path, "/")
	want, err := strconv.Atoi(part[1])
	if err != nil || len(part) != 3 || part[2] != id {
		w.t.Errorf("a node: %s of %q", req.URL.Path, id)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		if n.ahead == "" && w.odds(30) {
			n.ahead = id
			n.answer(id, req.Method, want)
		} else if n.ahead == "" && w.odds(30) {
			w.tell("a node answers %s early", id)
			n.early, n.last = true, true
			n.say = fmt.Appendf(nil, "HTTP/1.1 413 No\r\nX-Id: %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", id)
		}
		return
	}
	if !bytes.Equal(body, pattern(id, len(body))) {
		at, right := 0, pattern(id, len(body))
		for body[at] == right[at] {
			at++
		}
		w.t.Errorf("a node: %s: %d bytes, of which that at %d is not its body's: %q in %q", id, len(body), at, body[at:min(at+40, len(body))], n.got[:min(300, len(n.got))])
	}
	n.got = n.got[len(n.got)-src.Len()-r.Buffered():]
	n.seen = len(n.got)
	if len(n.got) > 0 && n.ahead != id {
		w.t.Errorf("a node: %q behind a request, before its answer", n.got[:min(len(n.got), 100)])
	}
	switch {
	case n.ahead == id: // it has
		n.ahead, n.seen = "", 0 // what is behind it was sent after its answer
	case req.Header.Get("Upgrade") != "" && w.rnd.IntN(6) > 0:
		n.tunnel(id)
	default:
		n.answer(id, req.Method, want)
	}
}

// answer decides what it says to a request.
func (n *fakeNode) answer(id, method string, want int) {
	w := n.w
	b := pattern(id, want)
	head := "HTTP/1.1 200 OK\r\nX-Id: " + id + "\r\n"
	framing := w.rnd.IntN(5)
	if w.sound { // an answer that ends with its connection ends what its client would still ask
		framing = 1 + framing%4
	}
	switch {
	case framing == 0:
		n.last = true
		n.say = append([]byte(head+"\r\n"), b...)
	case framing == 1:
		n.say = append([]byte(head+"Transfer-Encoding: chunked\r\n\r\n"), w.body(b, true)...)
	default:
		n.say = append(fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n", head, want), b...)
	}
	if method == "HEAD" {
		n.say = n.say[:bytes.Index(n.say, []byte("\r\n\r\n"))+4]
	}
	whole := len(n.say)
	defer func() { w.tell("node at %d says %s to %s: %d bytes, %.60q", n.f.fd, method, id, len(n.say), n.say) }()
	switch {
	case w.odds(10):
		hint := "HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("x", w.rnd.IntN(5000)) + "\r\n\r\n"
		n.say = append([]byte(strings.Repeat(hint, 1+w.rnd.IntN(8))), n.say...)
	case w.odds(15):
		n.say = fmt.Appendf(nil, "HTTP/1.1 503 Busy\r\nX-Id: %s\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", id)
	case w.odds(20) && !n.last:
		w.tell("a node answers %s twice", id)
		n.say = append(n.say, n.say...)
	case w.odds(15):
		n.say, n.mute = n.say[:w.rnd.IntN(whole)], true // and then nothing
		w.tell("a node stalls at %d of %d of %s", len(n.say), whole, id)
	case w.odds(15) && !n.last:
		n.say, n.last = n.say[:w.rnd.IntN(whole)], true // cut short
		w.tell("a node cuts %s short at %d of %d", id, len(n.say), whole)
	}
}
