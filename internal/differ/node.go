package differ

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// Answer is what the node says to one request.
type Answer struct {
	Early string // said when the request's head has come, byte for byte; "\N" stands for the request's number
	Text  string // said when all of it has
	After After
}

// Complete tells whether who sends that, and gets the answer first, can see the answer's end by itself.
func (a Answer) Complete(sent string) bool {
	all := messages(a.Early+a.Text, false, methodsOf(sent))
	return len(all) > 0 && all[len(all)-1].Whole && all[len(all)-1].Wrong == "" && !all[len(all)-1].interim()
}

// final is the answer as who asked with that method should understand it.
func (a Answer) final(method string) Message {
	for _, m := range messages(a.Early+a.Text, a.After == Ends, []string{method}) {
		if !m.interim() {
			return m
		}
	}
	return Message{}
}

// After is what the node does when it has answered.
type After uint8

const (
	Stays After = iota
	Ends
	Resets
)

// Node is a server that does as it is told, and takes down what it understood.
type Node struct {
	Addr string
	ln   net.Listener

	mu      sync.Mutex // guards the rest
	answers []Answer
	got     []*Message
	said    []Answer            // to each of them
	conns   map[string]net.Conn // by the other end
	met     *sync.Cond          // conns has one more
	all     sync.WaitGroup      // of the connections
}

// Listen starts a node on loopback. Who calls it closes it.
func Listen() (*Node, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a node: %w", err)
	}
	n := &Node{Addr: ln.Addr().String(), ln: ln, conns: map[string]net.Conn{}}
	n.met = sync.NewCond(&n.mu)
	go n.accept() // ends with the listener
	return n, nil
}

// Close ends the node.
func (n *Node) Close() {
	n.end()
	n.ln.Close()
}

func (n *Node) accept() {
	for {
		c, err := n.ln.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		n.conns[c.RemoteAddr().String()] = c
		n.all.Add(1)
		n.mu.Unlock()
		n.met.Broadcast()
		go n.serve(c)
	}
}

// begin has the next requests answered so; when there are no more answers, with a short one.
func (n *Node) begin(answers []Answer) {
	n.mu.Lock()
	n.answers, n.got, n.said = answers, nil, nil
	n.mu.Unlock()
}

// end closes all connections, and returns what was understood and what was said to it.
func (n *Node) end() (got, said []Message) {
	// What was dialled before this, and is not accepted yet, must not be taken for the next case's.
	last, err := net.DialTimeout("tcp", n.Addr, patience)
	n.mu.Lock()
	if err == nil {
		defer last.Close()
		for n.conns[last.LocalAddr().String()] == nil {
			n.met.Wait()
		}
	}
	for _, c := range n.conns {
		c.Close()
	}
	n.mu.Unlock()
	n.all.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, m := range n.got {
		got = append(got, *m)
		said = append(said, n.said[i].final(m.method()))
	}
	return got, said
}

// heard takes down a request whose head has come, and says which it is and what to answer.
func (n *Node) heard(m *Message) Answer {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = append(n.got, m)
	number := len(n.got)
	a := Answer{Text: "HTTP/1.1 200 OK\r\nNode: \\N\r\nContent-Length: 2\r\n\r\nok"}
	if number <= len(n.answers) {
		a = n.answers[number-1]
	}
	a.Early, a.Text = strings.ReplaceAll(a.Early, "\\N", fmt.Sprint(number)), strings.ReplaceAll(a.Text, "\\N", fmt.Sprint(number))
	n.said = append(n.said, a)
	return a
}

func (n *Node) serve(c net.Conn) {
	defer n.all.Done()
	defer func() {
		c.Close()
		n.mu.Lock()
		delete(n.conns, c.RemoteAddr().String())
		n.mu.Unlock()
	}()
	var b []byte
	var m *Message // whose head has come
	var a Answer
	tunnel := false
	in := make([]byte, 64<<10)
	for {
		for len(b) > 0 && !tunnel {
			var now Message
			size, head := now.read(string(b), false, false, "")
			if !head {
				break
			}
			first := m == nil
			if first {
				m = &Message{}
			}
			*m = now
			if first {
				a = n.heard(m)
			}
			if m.Wrong != "" {
				return
			}
			if first {
				io.WriteString(c, a.Early)
			}
			if m.Whole {
				io.WriteString(c, a.Text)
			}
			if m.Whole && strings.HasPrefix(a.Early+a.Text, "HTTP/1.1 101") {
				tunnel = true
				m.Framing, m.Body = "tunnel", string(b[size:])
				break
			}
			if m.Whole || a.Text == "" && a.Early != "" {
				switch a.After {
				case Resets:
					c.(*net.TCPConn).SetLinger(0)
					return
				case Ends:
					return
				}
			}
			if !m.Whole {
				break
			}
			b = b[size:]
			m = nil
		}
		k, err := c.Read(in)
		b = append(b, in[:k]...)
		if tunnel {
			m.Body += string(in[:k])
		}
		if err != nil {
			return
		}
	}
}
