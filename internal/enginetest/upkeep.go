package enginetest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"roost"
)

// CutNodes publishes a snapshot in which the nodes, by number, are cut.
func (p *Proxy) CutNodes(refs ...int) {
	next := Successor(p.Snap.Load())
	nodes := append([]roost.NodeView(nil), next.Pools[0].Nodes...)
	for _, i := range refs {
		nodes[i].Cut, nodes[i].Weight = true, 0
	}
	next.Pools[0].Nodes = nodes
	p.Snap.Store(next)
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

// Chatty is a node that switches protocols, says hello, and tells how its side of the connection ended, when it has.
func Chatty(t testing.TB, over chan error) string {
	return RawNode(t, func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		io.WriteString(c, switching+"hello")
		_, err := io.Copy(io.Discard, br)
		over <- err
	})
}

func (engine subject) TestTunnelsToACutNodeEndInOrderAndOthersStay(t *testing.T) {
	t.Parallel()
	cert := Cert(t)
	bothWays(t, func(t *testing.T, secure bool) {
		over, others := make(chan error, 1), make(chan error, 1)
		p := engine.start(t, func(s *Setup) {
			if secure {
				s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
			}
		}, Chatty(t, over), Chatty(t, others))
		open := func() (net.Conn, *bufio.Reader) {
			c := net.Conn(p.Dial())
			if secure {
				c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			}
			io.WriteString(c, Upgrade)
			br := bufio.NewReader(c)
			ReadUntil(t, br, "hello")
			return c, br
		}
		c, br := open()
		io.WriteString(c, "something for the node")
		next := Successor(p.Snap.Load())
		next.Pools[0].Nodes = append([]roost.NodeView(nil), next.Pools[0].Nodes...)
		next.Pools[0].Nodes[0].Weight = 0
		p.Snap.Store(next) // drains: new ones go to the other, this one stays
		other, otherBr := open()

		p.CutNodes(0)
		since := time.Now()
		if b, err := io.ReadAll(br); err != nil || len(b) > 0 {
			t.Errorf("the client's side ended with %q, %v", b, err)
		}
		c.Close()
		if err := <-over; err != nil {
			t.Errorf("the node's side ended with %v", err)
		}
		if r := p.Wait(1); !r.Upgraded || !r.Aborted || r.Node != "n1" || !strings.Contains(r.Cause, "out of service") || r.BytesIn != 22 || r.BytesOut != 5 {
			t.Errorf("record %+v", r)
		}
		t.Logf("ended after %v", time.Since(since))
		for range 3 { // rounds that follow leave the other one alone
			p.E.Upkeep(time.Now().Add(time.Minute))
		}
		io.WriteString(other, "still")
		other.Close()
		if err := <-others; err != nil {
			t.Errorf("the other tunnel ended with %v", err)
		}
		io.Copy(io.Discard, otherBr)
	})
}

// A client that takes nothing keeps us in a write to it. It is told, and then cut.
func (engine subject) TestATunnelThatIsStuckIsCutAllTheSame(t *testing.T) {
	t.Parallel()
	stuck := make(chan bool)
	n := RawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, switching)
		b := make([]byte, 1<<20)
		for {
			c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := c.Write(b); errors.Is(err, os.ErrDeadlineExceeded) {
				close(stuck)
				break
			}
		}
		c.SetWriteDeadline(time.Time{})
		io.Copy(io.Discard, c)
	})
	p := engine.start(t, nil, n)
	c, br := p.Send(Upgrade)
	http.ReadResponse(br, nil)
	<-stuck
	p.CutNodes(0)
	if r := p.Wait(1); !r.Aborted || !strings.Contains(r.Cause, "out of service") {
		t.Errorf("record %+v", r)
	}
	c.Close()
}

// 1. A client asks for an upgrade; 2. its node is cut; 3. the node agrees.
func (engine subject) TestATunnelThatOpensAfterTheCutEnds(t *testing.T) {
	t.Parallel()
	asked, agree := make(chan bool), make(chan bool)
	n := RawNode(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		asked <- true
		<-agree
		io.WriteString(c, switching)
		io.Copy(io.Discard, c)
	})
	p := engine.start(t, nil, n)
	_, br := p.Send(Upgrade)
	<-asked
	p.CutNodes(0)
	p.E.Upkeep(time.Now()) // sees nothing to end yet
	close(agree)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	Ended(t, br)
	p.Wait(1)
}

func (engine subject) TestRequestsAtACutNodeFinishAndItsIdleConnectionsClose(t *testing.T) {
	t.Parallel()
	for name, protocol := range map[string]roost.NodeProtocol{"HTTP/1.1": roost.ProtocolHTTP1, "HTTP/2": roost.ProtocolH2C} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := make(chan bool, 10)
			n := &Halting{At: make(chan bool), On: make(chan bool)}
			ln := ListenOn(t, "tcp")
			var protocols http.Protocols
			protocols.SetHTTP1(true)
			protocols.SetUnencryptedHTTP2(true)
			s := &http.Server{Handler: n, Protocols: &protocols, ConnState: func(_ net.Conn, st http.ConnState) {
				if st == http.StateClosed {
					closed <- true
				}
			}}
			done := make(chan bool)
			go func() { s.Serve(ln); close(done) }()
			defer func() { s.Close(); <-done }()
			p := engine.start(t, func(s *Setup) { s.Pool.Protocol = protocol }, ln.Addr().String())
			_, busy := p.Send(CRLF("GET /wait HTTP/1.1", "Host: h"))
			<-n.At
			_, idle := p.Send(CRLF("GET /ok HTTP/1.1", "Host: h"))
			ReadAnswer(t, idle, "GET")
			p.Wait(1)
			p.CutNodes(0)
			if protocol == roost.ProtocolHTTP1 {
				<-closed
			} // in HTTP/2 both are on the same connection
			n.On <- true
			if _, body := ReadAnswer(t, busy, "GET"); body != "waited" {
				t.Errorf("got %q", body)
			}
			<-closed
		})
	}
}

func (engine subject) TestANodeThatLeavesTheConfigurationKeepsItsTunnels(t *testing.T) {
	n := &Halting{}
	p := engine.start(t, nil, Node(t, n.ServeHTTP))
	c, br := p.Send(CRLF("GET /tunnel HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket"))
	http.ReadResponse(br, nil)
	for i, pools := range [][]roost.PoolView{Snapshot(&Setup{}, "127.0.0.1:1").Pools, nil} { // the node is gone, then the pool
		next := Successor(p.First)
		next.Pools = pools
		if pools == nil {
			next.Listeners[0].Routes = nil
		}
		p.Snap.Store(next)
		for round := range 3 {
			p.E.Upkeep(time.Now().Add(time.Duration(i*3+round+1) * time.Minute)) // each sweeps, too
		}
		io.WriteString(c, "!")
		if b, err := br.ReadByte(); b != '!' {
			t.Fatalf("%q, %v", b, err)
		}
	}
}

// While a hand-over waits for tunnels, which may be for days, the upkeep goes on and nothing spins.
func (engine subject) TestUpkeepGoesOnDuringADrain(t *testing.T) {
	t.Parallel()
	over := make(chan error, 1)
	p := engine.start(t, nil, Chatty(t, over))
	_, br := p.Send(Upgrade)
	ReadUntil(t, br, "hello")
	handed := make(chan error)
	go func() { handed <- p.E.HandOver(Deadline(t, 20*time.Second)) }()
	for c, err := net.Dial("tcp", p.Addr); err == nil; c, err = net.Dial("tcp", p.Addr) {
		c.Close() // until the listener is
	}
	p.CutNodes(0)
	Ended(t, br)
	if err := <-over; err != nil {
		t.Error(err)
	}
	if err := <-handed; err != nil {
		t.Error(err)
	}
}
