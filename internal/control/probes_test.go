package control_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roost"
	"roost/internal/control"
	"roost/internal/probe"
)

// lines is a log whose lines can be waited for.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// await takes lines until one has all the words. The test's own deadline ends a wait in vain.
func (l lines) await(t *testing.T, words ...string) {
	t.Helper()
	var seen strings.Builder
	for {
		select {
		case line := <-l:
			seen.WriteString(line)
			has := 0
			for _, w := range words {
				if strings.Contains(line, w) {
					has++
				}
			}
			if has == len(words) {
				return
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no line with %q; the log since:\n%s", words, seen.String())
		}
	}
}

func serveOn(t *testing.T, address string) *httptest.Server {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Listener.Close()
	s.Listener = ln
	s.Start()
	return s
}

func TestNodesThatDieAndReturnAreSeenByRealProbes(t *testing.T) {
	a, b := serveOn(t, "127.0.0.1:0"), serveOn(t, "127.0.0.1:0")
	defer a.Close()
	address := b.Listener.Addr().String()
	cfg := &roost.Config{Cluster: "test", Pools: []roost.Pool{{ID: "fn",
		Intent: roost.Intent{Policy: roost.Policy{Homes: 1, WalkFloor: roost.DefaultWalkFloor}, Nodes: []roost.Node{
			{ID: "a", Addr: a.Listener.Addr().String(), Weight: roost.WeightOne}, {ID: "b", Addr: address, Weight: roost.WeightOne}}},
		Health: roost.HealthSettings{Kind: roost.HealthHTTP, Path: "/", Interval: 20 * time.Millisecond, Timeout: 10 * time.Second, Rise: 2, Fall: 2,
			Eject: 100 * time.Millisecond}}}}

	log := make(lines, 1000)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var snapshot atomic.Pointer[roost.Snapshot]
	var loop *control.Loop
	prober := probe.New(probe.Options{Report: func(r roost.ProbeResult) { loop.Probed(r) }, Version: "test"})
	loop = control.New(control.Options{Snapshot: &snapshot, Log: logger, Targets: prober.Set, Urge: prober.Urge})
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { loop.Run(ctx) })
	all.Go(func() { prober.Run(ctx) })
	defer all.Wait()
	defer cancel()

	publish := func() *roost.PoolView { // without waiting for the next step to be due
		t.Helper()
		if err := loop.Configure(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		return &snapshot.Load().Pools[0]
	}
	publish()
	log.await(t, "node is well", "node=b")
	b.Close()
	log.await(t, "node is dead", "node=b", "connect: connection refused")
	if p := publish(); p.Nodes[1].Weight != 0 || !p.Liveness.IsDead(1) || p.Takers != 1 {
		t.Errorf("b is dead, and the view is %+v", p)
	}
	b = serveOn(t, address)
	defer b.Close()
	log.await(t, "node is well", "node=b", "was=dead")
	p := publish()
	if p.Nodes[1].Weight != roost.WeightOne || p.Liveness.IsDead(1) || p.Takers != 2 {
		t.Errorf("b is back, and the view is %+v", p)
	}
	p.Nodes[0].Live.Requests.Add(1)
	p.Nodes[0].Live.ConnectFail.Add(1)
	log.await(t, "node is dead", "node=a", "a connection failed")
	log.await(t, "node is well", "node=a", "was=dead")
}
