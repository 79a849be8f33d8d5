package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const fleetKeys = 200

// fleet is five nodes that are programs of their own behind a balancer that says why it chose.
type fleet struct {
	*balancer
	nodes []*process
	// bodies are what POSTs carry, of sizes from one byte to beyond what Roost keeps for a retry.
	bodies [][]byte
}

const fleetConfig = `
listeners:
  web: { address: "127.0.0.1:0", debug_header: true }
pools:
  fleet:
    health: { probe: /healthz, interval: %[1]v, timeout: %[1]v, fall: 2, rise: 2, slow_start: 1s, eject: 1s }
    limits: { head_timeout: %[2]v }
    nodes: [ %[3]s ]
admin: { listen: "ADMIN" }
`

func startFleet(t *testing.T, probes, headTimeout time.Duration) *fleet {
	t.Helper()
	// Nodes have a loopback address of their own where there is one, so that no client's port is ever theirs while
	// they are dead.
	host := "127.0.0.1:0"
	if runtime.GOOS == "linux" {
		host = "127.0.0.2:0"
	}
	f := &fleet{}
	var list []string
	for i := range 5 {
		n := startProcess(t, fmt.Sprintf("n%d", i+1), host)
		f.nodes = append(f.nodes, n)
		list = append(list, fmt.Sprintf("%q", n.name+"="+n.addr))
	}
	f.balancer = serveConfig(t, 1, fmt.Sprintf(fleetConfig, probes, headTimeout, strings.Join(list, ", ")))
	rnd := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{1, 100, 4 << 10, 20 << 10, 100 << 10} {
		body := make([]byte, size)
		rnd.Read(body)
		f.bodies = append(f.bodies, body)
	}
	return f
}

// homes asks for every key once, with nothing else going on: each goes to its home.
func (f *fleet) homes(t *testing.T) (homes [fleetKeys]string) {
	t.Helper()
	for _, n := range f.nodes {
		f.awaitNode(t, n.name, true)
	}
	errs := few{t: t}
	defer errs.close()
	client := newClient(t, false)
	for k := range homes {
		resp, _ := get(t, client, f.url(fmt.Sprintf("/r/app/f%d", k)))
		homes[k] = resp.Header.Get("Node")
		if why := resp.Header.Get("Roost-Why"); why != "home" {
			errs.Errorf("key %d of an idle pool went to %s because: %q, want home", k, homes[k], why)
		}
	}
	return homes
}

// load makes calls of random keys, every second one a POST.
func (f *fleet) load(t *testing.T, rate int) *load {
	client := newClient(t, false)
	return startLoad(t, rate, func(ctx context.Context, c *call) {
		c.key = rand.IntN(fleetKeys)
		var body []byte
		if c.n%2 == 1 {
			body = f.bodies[c.n/2%len(f.bodies)]
		}
		exchange(ctx, client, f.url(fmt.Sprintf("/r/app/f%d?ms=20", c.key)), body, c)
	})
}

// busiest is the node with most homes.
func (f *fleet) busiest(homes [fleetKeys]string) *process {
	count := map[string]int{}
	for _, h := range homes {
		count[h]++
	}
	best := f.nodes[0]
	for _, n := range f.nodes {
		if count[n.name] > count[best.name] {
			best = n
		}
	}
	return best
}

// judgeHomes checks that no answer says that a key's home was another node than before, but for those of the victim
// while it was away.
func judgeHomes(t *testing.T, homes [fleetKeys]string, victim string, calls []*call, back time.Time) {
	t.Helper()
	errs := few{t: t}
	defer errs.close()
	why, orphans := map[string]int{}, map[string]int{}
	for _, c := range calls {
		if c.failed() {
			continue
		}
		if homes[c.key] == victim && c.begin.Before(back) {
			orphans[c.why]++
			continue
		}
		why[c.why]++
		if c.why == "home" && c.node != homes[c.key] {
			errs.Errorf("the home of key %d was %s: %v", c.key, homes[c.key], c)
		}
		if homes[c.key] != victim && (c.why == "successor" || c.why == "panic") {
			errs.Errorf("a key whose home lives was sent elsewhere: %v", c)
		}
	}
	t.Logf("answers by why: %v; of keys at home on the node, until it was back: %v", why, orphans)
}

// TestKilledNodeFailsOnlyWhatWasInFlightOnIt kills one of five nodes under load, and starts it again.
func TestKilledNodeFailsOnlyWhatWasInFlightOnIt(t *testing.T) {
	const rate = 2000
	needQuiet(t, rate)
	f := startFleet(t, time.Second, 10*time.Second)
	homes := f.homes(t)
	victim := f.busiest(homes)
	l := f.load(t, rate)
	l.begun(t, 2*rate)

	told := f.nodeStatus(t, victim.name).InFlight
	killed := time.Now()
	victim.kill() // SIGKILL, and it is reaped
	dead := time.Now()
	f.awaitNode(t, victim.name, false)
	noticed := time.Since(killed)
	l.begun(t, 2*rate)

	startProcess(t, victim.name, victim.addr)
	f.awaitNode(t, victim.name, true)
	back := time.Now()
	l.begun(t, rate)
	calls := l.finish(t)

	errs := few{t: t}
	defer errs.close()
	var failed, posts, inFlight int
	for _, c := range calls {
		atKill := !c.begin.After(dead) && !c.end.Before(killed)
		if atKill && (homes[c.key] == victim.name || c.node == victim.name) {
			inFlight++
		}
		if c.failed() {
			if failed++; c.post {
				posts++
			}
			if !atKill || c.node != victim.name {
				errs.Errorf("failed, and was not in flight on the node at the kill (%v to %v): %v", killed.Format("05.000"), dead.Format("05.000"), c)
			}
		}
	}
	t.Logf("%d calls at %d/s; killed in %v; %d calls in flight on the node by their keys, %d by /status just before; %d failed, %d of them POSTs; ejected after %v",
		len(calls), rate, dead.Sub(killed).Round(time.Millisecond), inFlight, told, failed, posts, noticed.Round(time.Millisecond))
	if failed > inFlight {
		t.Errorf("%d calls failed, %d were in flight on the killed node", failed, inFlight)
	}
	judgeHomes(t, homes, victim.name, calls, back)
	if after := f.homes(t); after != homes {
		t.Errorf("homes after the return are not those before:\n%v\n%v", after, homes)
	}
}

// TestSilentNodeDoesBoundedDamage stops a node: the kernel still accepts its connections and nobody answers. What was
// sent to it before probes find out fails after the response head's timeout, with 504. Two things bound how much that
// is: the probes (two of 200 ms), and the limit of requests in flight on one node, past which its keys go to their
// next homes.
func TestSilentNodeDoesBoundedDamage(t *testing.T) {
	const rate = 500
	const headTimeout = time.Second
	needQuiet(t, rate)
	f := startFleet(t, 200*time.Millisecond, headTimeout)
	homes := f.homes(t)
	victim := f.busiest(homes)
	l := f.load(t, rate)
	l.begun(t, rate)

	stopped := time.Now()
	victim.signal(t, syscall.SIGSTOP)
	n := f.awaitNode(t, victim.name, false)
	found := time.Now()
	l.begun(t, rate)
	victim.signal(t, syscall.SIGCONT)
	f.awaitNode(t, victim.name, true)
	back := time.Now()
	l.begun(t, rate/2)
	calls := l.finish(t)

	errs := few{t: t}
	defer errs.close()
	var failed int
	var longest time.Duration
	for _, c := range calls {
		if longest = max(longest, c.end.Sub(c.begin)); !c.failed() {
			continue
		}
		failed++
		if c.status != http.StatusGatewayTimeout {
			errs.Errorf("failed otherwise than by 504: %v", c)
		}
		if c.begin.After(found) || c.end.Before(stopped) {
			errs.Errorf("failed, and did not begin before the node was found out: %v", c)
		}
	}
	most := bound(calls, stopped) * int(1+found.Sub(stopped)/headTimeout)
	t.Logf("%d calls at %d/s; found out after %v (%s); %d failed, %d may have; the longest took %v", len(calls), rate,
		found.Sub(stopped).Round(time.Millisecond), n.Reason, failed, most, longest.Round(time.Millisecond))
	if failed > most {
		t.Errorf("%d calls failed, want at most %d: what one node may have in flight, once per timeout", failed, most)
	}
	if longest > headTimeout+2*time.Second {
		t.Errorf("an answer took %v, with a timeout of %v", longest, headTimeout)
	}
	judgeHomes(t, homes, victim.name, calls, back)
	if after := f.homes(t); after != homes {
		t.Errorf("homes after the return are not those before:\n%v\n%v", after, homes)
	}
}

// bound is how many calls one of five nodes may have in flight if it keeps all that it gets: the limit that Roost grants
// a node, ceil(max(4, 1.5·a, a + 5·√a)) for a mean of a per node, at which it meets its own number. The load of the
// others is what it was before. It moves, so half as much again.
func bound(calls []*call, until time.Time) int {
	var first time.Time
	var busy time.Duration
	for _, c := range calls {
		if first.IsZero() || c.begin.Before(first) {
			first = c.begin
		}
		if c.end.Before(until) {
			busy += c.end.Sub(c.begin)
		}
	}
	others := busy.Seconds() / until.Sub(first).Seconds() * 4 / 5
	n := 0.0
	for {
		a := (others + n) / 5
		if limit := math.Ceil(max(4, 1.5*a, a+5*math.Sqrt(a))); n >= limit {
			return int(n * 1.5)
		}
		n++
	}
}

// TestPostBodiesComeBackWhole makes sure that the bodies of the tests above can fail.
func TestPostBodiesComeBackWhole(t *testing.T) {
	t.Parallel()
	truncating := newNode(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		w.Write(b.Bytes()[:b.Len()-1])
	}))
	var c call
	exchange(context.Background(), newClient(t, false), "http://"+truncating, []byte("abc"), &c)
	if !c.failed() {
		t.Error("a truncated echo passes for a whole one")
	}
}
