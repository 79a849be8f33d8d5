package enginetest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func (engine subject) TestRequestsBeyondAHardLimitWaitInLine(t *testing.T) {
	var at, most atomic.Int64
	release := make(chan bool)
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		if now := at.Add(1); now > most.Load() {
			most.Store(now)
		}
		<-release
		at.Add(-1)
	})
	p := engine.start(t, func(s *Setup) { s.Pool.MaxInFlight = 2; s.Pool.QueueLen = 5 }, n)
	pool := &p.Snap.Load().Pools[0]
	var all sync.WaitGroup
	var ok, full atomic.Int64
	c := Client(t)
	for range 10 {
		all.Go(func() {
			res, body := Get(t, c, "http://"+p.Addr+"/")
			switch {
			case res.StatusCode == 200:
				ok.Add(1)
			case res.StatusCode == 503 && strings.Contains(body, "pool_full") && res.Header.Get("Retry-After") != "":
				full.Add(1)
			default:
				t.Errorf("got %d %q", res.StatusCode, body)
			}
		})
	}
	for full.Load() < 3 || pool.Live.Waiting.Load() < 5 { // 2 run, 5 wait, 3 are too many
		p.Wait(int(full.Load()) + 1)
		if full.Load() > 3 {
			break
		}
	}
	for range 7 {
		release <- true
	}
	all.Wait()
	if ok.Load() != 7 || full.Load() != 3 || most.Load() > 2 || pool.Live.Waiting.Load() != 0 {
		t.Errorf("%d answered, %d refused, %d at once, %d still waiting", ok.Load(), full.Load(), most.Load(), pool.Live.Waiting.Load())
	}
	queued := 0
	for i := range 10 {
		if r := p.Wait(i + 1); r.Queued > 0 && r.Status == 200 {
			queued++
		}
	}
	if queued != 5 {
		t.Errorf("%d records say that they waited", queued)
	}
}

func (engine subject) TestWhoWaitsInLineForTooLongIsToldSo(t *testing.T) {
	release, began := make(chan bool), make(chan bool)
	n := Node(t, func(w http.ResponseWriter, r *http.Request) { began <- true; <-release })
	p := engine.start(t, func(s *Setup) { s.Pool.MaxInFlight = 1; s.Pool.QueueTimeout = 30 * time.Millisecond }, n)
	first := make(chan string)
	go func() {
		res, _ := Get(t, Client(t), "http://"+p.Addr+"/")
		first <- fmt.Sprint(res.StatusCode)
	}()
	<-began
	if res, body := Get(t, Client(t), "http://"+p.Addr+"/"); res.StatusCode != 503 || !strings.Contains(body, "pool_full") {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	close(release)
	if s := <-first; s != "200" {
		t.Errorf("the first got %s", s)
	}
}

func (engine subject) TestAReloadLetsTheLineIn(t *testing.T) {
	release, began := make(chan bool), make(chan bool, 2)
	slow := Node(t, func(w http.ResponseWriter, r *http.Request) { began <- true; <-release })
	defer close(release)
	var set *Setup
	p := engine.start(t, func(s *Setup) { s.Pool.MaxInFlight = 1; set = s }, slow)
	c := p.Dial()
	fmt.Fprint(c, CRLF("GET / HTTP/1.1", "Host: h"))
	<-began
	answered := make(chan int)
	go func() {
		res, _ := Get(t, Client(t), "http://"+p.Addr+"/")
		answered <- res.StatusCode
	}()
	pool := p.Snap.Load().Pools[0]
	for pool.Live.Waiting.Load() == 0 {
		select {
		case s := <-answered:
			t.Fatalf("answered %d, without waiting", s)
		case <-time.After(time.Millisecond):
		}
	}
	free := Node(t, func(w http.ResponseWriter, r *http.Request) {})
	next := Snapshot(set, slow, free)
	next.Pools[0].Live = pool.Live
	next.Pools[0].Nodes[0].Live = pool.Nodes[0].Live
	p.Snap.Store(next)
	if s := <-answered; s != 200 {
		t.Errorf("got %d", s)
	}
	c.Close()
}
