package demo

import (
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
)

func TestFunctionsAreCalledByTheirPopularity(t *testing.T) {
	const calls = 100_000
	shares := popularity(200)
	rnd := rand.New(rand.NewPCG(1, 2))
	var n [200]int
	for range calls {
		n[choose(shares, rnd)]++
	}
	last := 0.0
	for _, i := range []int{0, 1, 10, 199} {
		want := (shares[i] - last) * calls
		if i > 0 {
			want = (shares[i] - shares[i-1]) * calls
		}
		if d := float64(n[i]) - want; d*d > 25*want { // five standard deviations
			t.Errorf("function %d: %d calls, want about %.0f", i, n[i], want)
		}
	}
	if shares[199] != 1 || n[0] < 12*calls/100 || n[0] > 15*calls/100 {
		t.Errorf("shares end at %g, the first gets %d of %d", shares[199], n[0], calls)
	}
}

func TestTheSameSeedGivesTheSameCalls(t *testing.T) {
	a, b, c := show{o: Options{Seed: 7}}, show{o: Options{Seed: 7}}, show{o: Options{Seed: 8}}
	x, y, z := a.rand(), b.rand(), c.rand()
	same := 0
	for range 100 {
		u := x.Uint64()
		if u != y.Uint64() {
			t.Fatal("the same seed gives another load")
		}
		if u == z.Uint64() {
			same++
		}
	}
	if same == 100 {
		t.Error("another seed gives the same load")
	}
}

func TestRoundRobinPassesOverANodeThatRefuses(t *testing.T) {
	var nodes []*node
	var addrs []string
	for i := range 3 {
		n, err := startNode(i, Options{Capacity: 9}, newLedger(9))
		if err != nil {
			t.Fatal(err)
		}
		defer n.kill()
		nodes, addrs = append(nodes, n), append(addrs, n.addr())
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newRobin(addrs, 9)
	defer r.tr.CloseIdleConnections()
	stop := serveHTTP(ln, r)
	defer stop()
	c := caller{side: &side{addr: ln.Addr().String()}, tr: keepAlive(9)}
	defer c.tr.CloseIdleConnections()
	for range 9 {
		if err := c.get(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		if n.warm() != 1 {
			t.Errorf("%s was not called", n.name)
		}
	}
	if err := nodes[1].kill(); err != nil {
		t.Fatal(err)
	}
	for range 9 {
		if err := c.get(t.Context(), 6); err != nil {
			t.Errorf("after a node died: %v", err)
		}
	}
	if nodes[0].warm() != 2 || nodes[2].warm() != 2 {
		t.Error("the living nodes do not share the calls")
	}
	if err := nodes[0].kill(); err != nil {
		t.Fatal(err)
	}
	if err := nodes[2].kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.get(t.Context(), 7); err == nil {
		t.Errorf("an answer from nowhere; want status %d", http.StatusBadGateway)
	}
}
