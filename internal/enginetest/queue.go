package enginetest

import (
	"bufio"
	"fmt"
	"io"
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
	// 2 run, 5 wait, 3 are too many; or 4, if some came while one was about to leave the line again.
	for full.Load()+at.Load()+pool.Live.Waiting.Load() < 10 {
		<-time.After(time.Millisecond)
	}
	for range 10 - full.Load() {
		release <- true
	}
	all.Wait()
	if full.Load() < 3 || full.Load() > 4 || ok.Load() != 10-full.Load() || most.Load() > 2 || pool.Live.Waiting.Load() != 0 {
		t.Errorf("%d answered, %d refused, %d at once, %d still waiting", ok.Load(), full.Load(), most.Load(), pool.Live.Waiting.Load())
	}
	queued := int64(0)
	for i := range 10 {
		if r := p.Wait(i + 1); r.Queued > 0 && r.Status == 200 {
			queued++
		}
	}
	if queued < ok.Load()-2 {
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

func (engine subject) TestWhoWaitsInLineKeepsItsBody(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})
	p := engine.start(t, func(s *Setup) { s.Pool.MaxInFlight, s.Pool.QueueLen = 1, 100 }, n)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			c := p.Dial()
			br := bufio.NewReader(c)
			for j := range 30 {
				body := strings.Repeat(fmt.Sprint(i, " ", j, "."), 100)
				head := CRLF("POST / HTTP/1.1", "Host: h", fmt.Sprint("Content-Length: ", len(body)))
				io.WriteString(c, head[:10])
				io.WriteString(c, head[10:]+body)
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || string(b) != body {
					t.Errorf("client %d, request %d: %d, %d bytes of %.40q, %v", i, j, res.StatusCode, len(b), b, err)
					return
				}
			}
		})
	}
	all.Wait()
}
