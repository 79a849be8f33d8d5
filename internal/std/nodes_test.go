package std

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"roost"
	"roost/internal/enginetest"
)

func TestANameIsAskedOnceForManyDials(t *testing.T) {
	var r resolver
	now := time.Now()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if a, err := r.lookup(context.Background(), "localhost", now); err != nil || len(a) == 0 {
				t.Errorf("%v, %v", a, err)
			}
		})
	}
	all.Wait()
	first := r.names["localhost"]
	r.lookup(context.Background(), "localhost", now.Add(answerTTL-1))
	if r.names["localhost"] != first {
		t.Error("asked again within the time an answer is kept")
	}
	r.lookup(context.Background(), "localhost", now.Add(answerTTL))
	if r.names["localhost"] == first {
		t.Error("a name that may have moved was not asked again")
	}
	if _, err := r.lookup(context.Background(), "no.such.name.invalid", now); err == nil {
		t.Error("no error")
	}
	if r.names["no.such.name.invalid"] != nil {
		t.Error("a failure was kept")
	}
}

func TestADialTriesAllAddressesAndRefusesForbiddenOnes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, text, _ := net.SplitHostPort(ln.Addr().String())
	var d dialer
	ctx := enginetest.Deadline(t, 5*time.Second)
	c, fault, err := d.try(ctx, []netip.Addr{netip.MustParseAddr("127.9.9.9"), netip.MustParseAddr("127.0.0.1")}, text, false)
	if err != nil {
		t.Fatalf("%v, %v", fault, err)
	}
	c.Close()
	for _, no := range []string{"169.254.169.254", "fe80::1", "::ffff:169.254.1.1", "fd00:ec2::254"} {
		if _, fault, err := d.try(ctx, []netip.Addr{netip.MustParseAddr(no)}, text, false); fault != roost.FaultForbidden || err == nil {
			t.Errorf("%s: %v, %v", no, fault, err)
		}
	}
	gone, cancel := context.WithCancel(ctx)
	cancel() // so that nothing is dialled
	if _, fault, _ := d.dial(gone, place{addr: "169.254.1.1:1", linkLocal: true}, 0, time.Now()); fault == roost.FaultForbidden {
		t.Error("a link-local address that is allowed is refused")
	}
	if _, fault, _ := d.dial(gone, place{addr: "169.254.1.1:1", linkLocal: false}, 0, time.Now()); fault != roost.FaultForbidden {
		t.Errorf("a link-local address that is not allowed: %v", fault)
	}
	if _, fault, _ := d.dial(ctx, place{addr: "nonsense"}, 0, time.Now()); fault != roost.FaultResolve {
		t.Errorf("got %v", fault)
	}
}

// A rack is compared with a dumb twin: what was put and not taken is there, at most limit, and the first place is filled
// and emptied first.
func TestARackHoldsWhatWasPutUpToItsLimit(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	set := &roost.PoolSettings{IdleTimeout: time.Hour}
	for range 200 {
		limit := rnd.IntN(20)
		r := &rack{}
		in := map[*nodeConn]bool{}
		for range 200 {
			if rnd.IntN(2) == 0 {
				a, b := net.Pipe()
				defer b.Close()
				n := &nodeConn{addr: "a", born: now, rested: now}
				n.open(a, &buffers{})
				if ok := r.put(n, limit); ok != (len(in) < limit) {
					t.Fatalf("put with %d of %d in: %v", len(in), limit, ok)
				} else if ok {
					in[n] = true
				}
				continue
			}
			n := r.take("a", set, false, now)
			if (n != nil) != (len(in) > 0) || n != nil && !in[n] {
				t.Fatalf("take with %d in: %v", len(in), n)
			}
			delete(in, n)
		}
	}
}

func TestARackIsSafeWithoutALock(t *testing.T) {
	r := &rack{}
	now := time.Now()
	set := &roost.PoolSettings{IdleTimeout: time.Hour}
	var all sync.WaitGroup
	var owned sync.Map
	for range 4 {
		all.Go(func() {
			for range 2000 {
				n := r.take("a", set, false, now)
				if n == nil {
					a, _ := net.Pipe()
					n = &nodeConn{addr: "a", born: now, rested: now}
					n.open(a, &buffers{})
				}
				if _, twice := owned.LoadOrStore(n, true); twice {
					t.Error("one connection, two owners")
				}
				owned.Delete(n)
				n.rested, n.idle = now, time.Minute // as their owner may
				r.put(n, 3)
			}
		})
	}
	all.Go(func() {
		for range 2000 {
			r.sweep(time.Hour, false, now)
		}
	})
	all.Wait()
}

func TestOldAndColdConnectionsAreNotUsed(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		n    nodeConn
		once bool
		good bool
	}{
		"warm":                           {nodeConn{addr: "a", born: now, rested: now}, false, true},
		"elsewhere":                      {nodeConn{addr: "b", born: now, rested: now}, false, false},
		"idle for too long":              {nodeConn{addr: "a", born: now, rested: now.Add(-time.Minute - 1)}, false, false},
		"longer than the node said":      {nodeConn{addr: "a", born: now, rested: now.Add(-4500 * time.Millisecond), idle: 5 * time.Second}, false, false},
		"too old":                        {nodeConn{addr: "a", born: now.Add(-maxAge - 1), rested: now}, false, false},
		"cold, for what may be repeated": {nodeConn{addr: "a", born: now, rested: now.Add(-30 * time.Second)}, false, true},
		"cold, for what may not":         {nodeConn{addr: "a", born: now, rested: now.Add(-30 * time.Second)}, true, false},
		"just used, for what may not be": {nodeConn{addr: "a", born: now, rested: now.Add(-recent / 2)}, true, true},
	} {
		r := &rack{}
		a, b := net.Pipe()
		n := c.n
		n.open(a, &buffers{})
		r.put(&n, 5)
		got := r.take("a", &roost.PoolSettings{IdleTimeout: time.Minute}, c.once, now)
		if (got != nil) != c.good {
			t.Errorf("%s: taken %v, want %v", name, got != nil, c.good)
		}
		b.Close()
	}
}

func TestNodesThatAreNoMoreAreForgotten(t *testing.T) {
	n := enginetest.Node(t, func(w http.ResponseWriter, r *http.Request) {})
	p := start(t, nil, n)
	enginetest.Get(t, enginetest.Client(t), "http://"+p.Addr+"/")
	p.Wait(1)
	count := func() (racks int) {
		p.e.nodes.racks.Range(func(_, v any) bool { racks++; return true })
		return racks
	}
	p.e.nodes.sweep(p.Snap.Load(), time.Now())
	if count() != 1 {
		t.Fatalf("%d racks", count())
	}
	v, _ := p.e.nodes.racks.Load(p.Snap.Load().Pools[0].Nodes[0].Live)
	p.e.nodes.sweep(&roost.Snapshot{}, time.Now())
	if idle := v.(*rack).n.Load(); idle != 0 {
		t.Errorf("%d connections are kept to a node that is no more", idle)
	}
	p.e.nodes.sweep(&roost.Snapshot{}, time.Now())
	if count() != 0 {
		t.Errorf("%d racks", count())
	}
}
