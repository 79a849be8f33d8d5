//go:build linux

package reactor

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"roost"
)

func TestBytesReadAheadOfARelayAreNotLost(t *testing.T) {
	p := start(t, nil, tunnelled(t, "early", func(c *net.TCPConn, br *bufio.Reader) { io.Copy(c, br) }))
	c, br := p.tunnel("ahead") // in one segment with the request, before anything was agreed
	if n := p.live().Conns.Load(); n != 1 || p.live().InFlight.Load() != 0 {
		t.Errorf("%d connections, %d in flight", n, p.live().InFlight.Load())
	}
	io.WriteString(c, " and behind")
	c.CloseWrite()
	if b, err := io.ReadAll(br); err != nil || string(b) != "earlyahead and behind" {
		t.Errorf("%q, %v", b, err)
	}
	if r := p.wait(1); !r.Upgraded || r.Status != 101 || r.Aborted || r.BytesIn != 16 || r.BytesOut != 21 || r.Target != "/" || r.Host != "h" || r.Cause != "" {
		t.Errorf("%+v", r)
	}
}

func TestTheSidesOfARelayEndOneByOne(t *testing.T) {
	p := start(t, nil, tunnelled(t, "", func(c *net.TCPConn, br *bufio.Reader) {
		b, _ := io.ReadAll(br) // until the client has ended its side
		io.WriteString(c, "you said "+string(b))
	}))
	c, br := p.tunnel("")
	io.WriteString(c, "all")
	c.CloseWrite()
	if b, err := io.ReadAll(br); err != nil || string(b) != "you said all" {
		t.Errorf("%q, %v", b, err)
	}
	p.wait(1)

	said := make(chan string, 1)
	q := start(t, nil, tunnelled(t, "bye", func(c *net.TCPConn, br *bufio.Reader) {
		c.CloseWrite()
		b, _ := io.ReadAll(br)
		said <- string(b)
	}))
	c, br = q.tunnel("")
	if b, err := io.ReadAll(br); err != nil || string(b) != "bye" {
		t.Errorf("%q, %v", b, err)
	}
	io.WriteString(c, "still here")
	c.Close()
	if s := <-said; s != "still here" {
		t.Errorf("%q", s)
	}
	if r := q.wait(1); r.Aborted {
		t.Errorf("%+v", r)
	}
}

func TestASideThatBreaksBreaksTheOther(t *testing.T) {
	p := start(t, nil, tunnelled(t, "half of it", func(c *net.TCPConn, br *bufio.Reader) { c.SetLinger(0) }))
	_, br := p.tunnel("")
	if b, err := io.ReadAll(br); !errors.Is(err, syscall.ECONNRESET) || string(b) != "half of it" {
		t.Errorf("%q, %v", b, err)
	}
	if r := p.wait(1); !r.Aborted || !strings.HasPrefix(r.Cause, "the node: ") {
		t.Errorf("%+v", r)
	}

	broke := make(chan error, 1)
	q := start(t, nil, tunnelled(t, "", func(c *net.TCPConn, br *bufio.Reader) {
		_, err := io.Copy(io.Discard, br)
		broke <- err
	}))
	c, _ := q.tunnel("")
	c.SetLinger(0)
	c.Close()
	if err := <-broke; !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	if r := q.wait(1); !r.Aborted || !strings.HasPrefix(r.Cause, "the client: ") {
		t.Errorf("%+v", r)
	}
}

func TestAResetIsSeenBehindAnEnd(t *testing.T) {
	p := start(t, nil, tunnelled(t, "", func(c *net.TCPConn, br *bufio.Reader) {
		br.ReadByte()
		io.ReadAll(br) // its end came
		io.Copy(io.Discard, c)
	}))
	c, _ := p.tunnel("x")
	c.CloseWrite()
	c.SetLinger(0)
	c.Close()
	p.wait(1)
}

func TestAHalfEndedRelayDoesNotLastForEver(t *testing.T) {
	p := start(t, func(s *setup) { s.p.BodyTimeout = 30 * time.Millisecond },
		tunnelled(t, "", func(c *net.TCPConn, br *bufio.Reader) {
			c.CloseWrite()
			io.Copy(io.Discard, br)
		}))
	_, br := p.tunnel("")
	io.Copy(io.Discard, br) // and then says nothing, without ending its side
	if r := p.wait(1); !r.Aborted || r.Cause != causeSilent {
		t.Errorf("%+v", r)
	}
}

func TestASideThatTakesNothingEndsItsRelay(t *testing.T) {
	p := start(t, func(s *setup) { s.l.SendTimeout = 100 * time.Millisecond },
		tunnelled(t, "", func(c *net.TCPConn, br *bufio.Reader) { io.Copy(c, zeros{}) }))
	p.tunnel("")
	if r := p.wait(1); !r.Aborted || r.Cause != causeSlow || r.BytesOut == 0 {
		t.Errorf("%+v", r)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestRelaysToANodeThatIsCutEnd(t *testing.T) {
	for _, polite := range []bool{true, false} {
		p := start(t, nil, tunnelled(t, "", func(c *net.TCPConn, br *bufio.Reader) {
			io.Copy(io.Discard, br)
			if !polite {
				io.Copy(c, zeros{})
			}
		}))
		_, br := p.tunnel("")
		s := *p.snap.Load()
		s.Pools = append([]roost.PoolView(nil), s.Pools...)
		s.Pools[0].Nodes = append([]roost.NodeView(nil), s.Pools[0].Nodes...)
		s.Pools[0].Nodes[0].Cut = true
		p.snap.Store(&s)
		if b, err := io.ReadAll(br); len(b) != 0 || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if r := p.wait(1); !r.Aborted || r.Cause != causeCut {
			t.Errorf("%+v", r)
		}
	}
}

func TestARelayLivesUntilItIsCutOff(t *testing.T) {
	p := start(t, nil, tunnelled(t, "", func(c *net.TCPConn, br *bufio.Reader) { io.Copy(c, br) }))
	c, br := p.tunnel("")
	p.e.Retire(0)
	io.WriteString(c, "x")
	if b, err := br.ReadByte(); b != 'x' || err != nil {
		t.Fatal(err)
	}
	p.stop()
	if _, err := br.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	if r := p.wait(1); !r.Aborted || r.BytesIn != 1 || r.BytesOut != 1 {
		t.Errorf("%+v", r)
	}
}

// What goes through is what came, in whatever pieces, at whatever pace, and however much of it is under way at a time.
func TestARelayIsTheSameAsAWire(t *testing.T) {
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		size := 1 << (10 + rnd.IntN(13))
		up, down := random(rnd, size), random(rnd, size)
		heard := make(chan []byte, 1)
		p := start(t, nil, tunnelled(t, "", func(c *net.TCPConn, br *bufio.Reader) {
			var all sync.WaitGroup
			all.Go(func() { chop(c, down, seed); c.CloseWrite() })
			heard <- slurp(br, seed)
			all.Wait()
		}))
		c, br := p.tunnel("")
		var all sync.WaitGroup
		all.Go(func() { chop(c, up, seed); c.CloseWrite() })
		if got := slurp(br, seed); !bytes.Equal(got, down) {
			t.Errorf("seed %d: %d bytes down, not as the %d that were sent", seed, len(got), len(down))
		}
		all.Wait()
		if got := <-heard; !bytes.Equal(got, up) {
			t.Errorf("seed %d: %d bytes up, not as the %d that were sent", seed, len(got), len(up))
		}
		if r := p.wait(1); r.Aborted || r.BytesIn != int64(size) || r.BytesOut != int64(size) {
			t.Errorf("seed %d: %+v", seed, r)
		}
		p.stop()
	}
}

func TestARelayAllocatesNothing(t *testing.T) {
	p := start(t, raw, echoes(t, ""))
	c, br := p.dial("")
	b := make([]byte, 100)
	ask := func() {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(br, b); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{100, 256 << 10} { // by copy, by pipe
		b = make([]byte, size)
		for range 20 {
			ask()
		}
		if n := testing.AllocsPerRun(20, ask); n > 0 {
			t.Errorf("%v allocations for %d bytes", n, size)
		}
	}
}

// Many connections come and go, ended by either side, in order and not; nothing of them is left.
func TestTenThousandRelaysLeaveNothingBehind(t *testing.T) {
	echoes(t, "") // the runtime has its own descriptors now
	before := descriptors(t)
	t.Run("10000", comeAndGo)
	if n := descriptors(t); n > before {
		t.Errorf("%d descriptors, and %d before", n, before)
	}
}

func comeAndGo(t *testing.T) {
	const waves, each = 20, 500
	p := start(t, raw, node(t, func(c *net.TCPConn, n int) {
		var b [1]byte
		c.Read(b[:])
		switch n % 3 {
		case 0:
			c.SetLinger(0)
		case 1:
			io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) // not by a pipe, which the runtime would keep
		}
	}))
	p.mu.Lock()
	p.records = make([]roost.Record, 0, waves*each) // or it would be what grows
	p.mu.Unlock()
	var heap [waves]uint64
	for wave := range waves {
		conns := make([]net.Conn, each)
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for j := i; j < each; j += 4 {
					c, err := net.Dial("tcp", p.addr)
					if err != nil {
						t.Error(err)
						return
					}
					conns[j] = c
				}
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
		for i, c := range conns {
			io.WriteString(c, "x")
			if i%2 == 0 {
				c.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, c)
			}
			c.Close()
		}
		p.wait((wave + 1) * each)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap[wave] = m.HeapAlloc
	}
	if first, last := heap[1], heap[waves-1]; last > first+first/4+1<<20 {
		t.Errorf("memory grows: %d", heap)
	}
}

func descriptors(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(all)
}

func random(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// chop writes b in pieces.
func chop(w io.Writer, b []byte, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	for len(b) > 0 {
		n := min(len(b), 1+rnd.IntN(1<<rnd.IntN(20)))
		w.Write(b[:n])
		b = b[n:]
	}
}

// slurp reads all in pieces.
func slurp(r io.Reader, seed uint64) (all []byte) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	b := make([]byte, 1<<20)
	for {
		n, err := r.Read(b[:1+rnd.IntN(1<<rnd.IntN(21))])
		all = append(all, b[:n]...)
		if err != nil {
			return all
		}
	}
}
