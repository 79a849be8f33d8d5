// Package differ finds out what bytes mean to both sides of a proxy: a raw client sends them, a raw node answers as a
// script says, and each takes down what it understood. Two proxies that give the same [Meaning] are alike; one whose node
// understood what its client did not say can be used to smuggle.
//
// Guarantee: it reads messages by RFC 9112 to the letter, apart from any code of ours, so it is a twin of it.
//
// Trap: what never became whole (a request whose body broke off, an answer that was cut) came as far as chance would have
// it. It is no part of a Meaning but that it was there.
package differ

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds each wait for what takes milliseconds.
const patience = 5 * time.Second

// Meaning is what both sides of a proxy understood of one client's connection.
type Meaning struct {
	Sent    []Message // what the client asked for, as a strict reader understands its bytes; the last may be wrong
	Got     []Message // what the node understood, in the order in which the heads came
	Said    []Message // what the node answered to each
	Answers []Message // what the client understood; the last may be wrong or not whole
	Reset   bool      // the client's connection was reset, and not ended in order
	Stuck   bool      // nothing ended it
}

// Run sends what the case says through the proxy at addr, whose node must be n.
func Run(addr string, n *Node, c *Case) (Meaning, error) {
	n.begin(c.Answers)
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return Meaning{}, fmt.Errorf("reach the proxy: %w", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	r := &receiver{methods: methodsOf(c.Sent())}
	r.more = sync.NewCond(&r.mu)
	over := make(chan struct{})
	go func() { // ends with the connection
		defer close(over)
		r.receive(conn)
	}()
	for _, s := range c.Steps {
		switch s.Do {
		case Send:
			_, err := io.WriteString(conn, s.Text) // who closes early is seen by what is read
			if errors.Is(err, syscall.ECONNRESET) {
				r.wasReset() // whom the kernel has told so the reader will not be told
			}
		case Fence:
			if err := fence(addr); err != nil {
				return Meaning{}, err
			}
		case Await:
			r.await(s.N)
		}
	}
	sent := messages(c.Sent(), true, nil)
	if !c.Hurry {
		r.awaitAll(c.expected(sent))
	}
	conn.(*net.TCPConn).CloseWrite()
	<-over
	got, said := n.end()
	for i := range got {
		for j, f := range got[i].Fields {
			got[i].Fields[j] = strings.Replace(f, n.Addr, "node", 1)
		}
	}
	m := Meaning{Sent: sent, Got: got, Said: said, Answers: r.answers(true), Reset: r.reset, Stuck: r.stuck}
	return m, nil
}

// fence returns when a proxy that is one loop has read what was sent to it before: what came earlier is read earlier, and
// here it has answered what came later.
func fence(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return fmt.Errorf("reach the proxy: %w", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "?\r\n\r\n") // no proxy passes it on
	conn.Read(make([]byte, 1))
	return nil
}

// receiver takes down what the client gets.
type receiver struct {
	methods []string // what was asked

	mu    sync.Mutex // guards the rest
	more  *sync.Cond
	b     []byte
	over  bool
	reset bool
	stuck bool
}

func (r *receiver) receive(conn net.Conn) {
	for b := make([]byte, 64<<10); ; {
		n, err := conn.Read(b)
		r.mu.Lock()
		r.b = append(r.b, b[:n]...)
		if err != nil {
			var t net.Error
			r.over, r.stuck = true, errors.As(err, &t) && t.Timeout()
			r.reset = r.reset || err != io.EOF && !r.stuck
		}
		r.mu.Unlock()
		r.more.Broadcast()
		if err != nil {
			return
		}
	}
}

func (r *receiver) wasReset() {
	r.mu.Lock()
	r.reset = true
	r.mu.Unlock()
}

// await waits for n whole answers, interim ones included, or the end.
func (r *receiver) await(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.over && len(r.whole()) < n {
		r.more.Wait()
	}
}

// expected is how many answers to wait for before the client ends its side. sent is how a strict reader understands it.
func (c *Case) expected(sent []Message) (n int) {
	if c.Patient && !c.Alone {
		return strings.Count(c.Sent(), " HTTP/1.")
	}
	for _, m := range sent {
		if m.Whole && m.Wrong == "" {
			n++
		}
	}
	return n
}

// awaitAll waits for n answers that are no interim ones, or the end.
func (r *receiver) awaitAll(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.over {
		final := 0
		for _, m := range r.whole() {
			if m.Framing == "tunnel" {
				return
			}
			if !m.interim() {
				final++
			}
		}
		if final >= n {
			return
		}
		r.more.Wait()
	}
}

func (r *receiver) whole() []Message {
	all := r.answers(false)
	for i, m := range all {
		if !m.Whole && m.Framing != "tunnel" {
			return all[:i]
		}
	}
	return all
}

func (r *receiver) answers(over bool) []Message {
	return messages(string(r.b), over && !r.reset && !r.stuck, r.methods)
}

// methodsOf are the methods that a client knows that it asked with, whether or not they make sense.
func methodsOf(sent string) []string {
	methods := []string{}
	for _, m := range messages(sent, true, nil) {
		methods = append(methods, m.method())
	}
	return methods
}

// Exact is all that can be told about the meaning but for dates.
func (m Meaning) Exact() string {
	var s strings.Builder
	for _, g := range m.Got {
		if g.Whole || g.Wrong != "" {
			fmt.Fprintf(&s, "node %s\n", g.exact())
		}
	}
	for i, a := range m.Answers {
		switch {
		case m.drowned(i):
			fmt.Fprintf(&s, "client %s, perhaps cut\n", a.Start)
		case a.Whole || a.Wrong != "":
			fmt.Fprintf(&s, "client %s\n", a.exact())
		default:
			fmt.Fprintf(&s, "client %s cut\n", a.Start)
		}
	}
	m.end(&s)
	return s.String()
}

// drowned tells whether answer i, which the end of the connection frames, may end in a reset although it is whole: its
// client said that it would send no more, and did; what comes when a socket is closed makes the kernel reset it.
func (m Meaning) drowned(i int) bool {
	final := 0
	for _, a := range m.Answers[:i] {
		if !a.interim() {
			final++
		}
	}
	return m.Answers[i].Framing == "close" && final < len(m.Sent)-1 && !m.Sent[final].persistent()
}

func (m Meaning) end(s *strings.Builder) {
	if m.Stuck {
		s.WriteString("still open\n")
	}
}

// Brief is what a reader wants to know of the meaning.
func (m Meaning) Brief() string {
	var s strings.Builder
	for _, g := range m.Got {
		if g.Whole || g.Wrong != "" {
			fmt.Fprintf(&s, "node %s\n", g.brief())
		}
	}
	for _, a := range m.Answers {
		fmt.Fprintf(&s, "client %s\n", a.brief())
	}
	m.end(&s)
	return s.String()
}

// Common is the meaning as far as proxies of good faith must agree: the requests that the node understood, and its answers
// as the client understood them. How a proxy refuses what is wrong, with which status or none, is its own business.
func (m Meaning) Common() string {
	var s strings.Builder
	for _, g := range m.Got {
		switch {
		case g.Wrong != "":
			fmt.Fprintf(&s, "node ambiguous\n")
		case g.Whole:
			fmt.Fprintf(&s, "node %s host=%s%s %s\n", g.asked(), g.Field("Host"), g.extensions(), quote(g.Body))
		}
	}
	for _, a := range m.Answers {
		if a.Whole && a.Field("Node") != "" && !a.interim() {
			fmt.Fprintf(&s, "client %d%s %s\n", a.Status(), a.extensions(), quote(a.Body))
		}
	}
	m.end(&s)
	return s.String()
}

// Amiss is what no proxy may do, whatever the case: pass on what can be read in two ways, let the node see what the client
// did not ask for, or give the client what it
// cannot read or did not ask for, or as whole what is not; "" if nothing.
func (m Meaning) Amiss() string {
	var asked []Message
	for _, s := range m.Sent {
		if s.Whole && s.Wrong == "" {
			asked = append(asked, s)
		}
	}
	next := 0
	for _, g := range m.Got {
		if g.Wrong != "" {
			return fmt.Sprintf("the node got what is ambiguous (%s): %q", g.Wrong, g.Start)
		}
		if !g.Whole {
			continue
		}
		// A request may be tried twice, or be refused and never come; the order stays.
		at := max(0, next-1)
		for at < len(asked) && !same(asked[at], g) {
			at++
		}
		if at == len(asked) {
			return fmt.Sprintf("the node understood %s %s, which the client did not ask for", g.asked(), quote(g.Body))
		}
		next = at + 1
	}
	final := 0
	for _, a := range m.Answers {
		if a.Wrong != "" {
			return fmt.Sprintf("the client got what is ambiguous (%s): %q", a.Wrong, a.Start)
		}
		if !a.interim() {
			final++
		}
		if a.Whole && a.Field("Node") != "" && a.Framing != "tunnel" && !a.interim() && !m.said(a) {
			return fmt.Sprintf("the client took for whole what the node did not say: %s %s", a.Start, quote(a.Body))
		}
	}
	if final > len(m.Sent) {
		return fmt.Sprintf("%d answers to %d requests", final, len(m.Sent))
	}
	if m.Stuck {
		return "the connection did not end"
	}
	return ""
}

// said tells whether an answer that names the node is one of its.
func (m Meaning) said(a Message) bool {
	return slices.ContainsFunc(m.Said, func(s Message) bool {
		return s.Whole && s.Field("Node") == a.Field("Node") && s.Body == a.Body
	})
}

// same tells whether a request is the one that was asked for. What came through a tunnel was no request.
func same(asked, got Message) bool {
	return asked.asked() == got.asked() && (asked.Body == got.Body || got.Framing == "tunnel")
}

// quote shows a body: as it is, or what is needed to tell it from others.
func quote(b string) string {
	if len(b) <= 80 {
		return strconv.Quote(b)
	}
	sum := uint32(2166136261) // FNV-1a
	for i := range len(b) {
		sum = (sum ^ uint32(b[i])) * 16777619
	}
	return fmt.Sprintf("%q and so on, %d bytes, sum %08x", b[:16], len(b), sum)
}
