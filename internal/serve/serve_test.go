package serve

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roost"
	"roost/internal/config"
)

// node is a real HTTP server that counts the calls it gets.
func node(t *testing.T, calls *atomic.Int64) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		fmt.Fprint(w, "hello")
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// balance starts a balancer and returns the addresses of its listeners and a function that ends it.
func balance(t *testing.T, f config.Flags, log io.Writer) (addrs []string, stop func() error) {
	t.Helper()
	cfg, diags := config.FromFlags(f)
	if diags.Failed() {
		var b bytes.Buffer
		diags.Text(&b)
		t.Fatal(b.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	up := make(chan []roost.ListenerStatus, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, cfg, Options{Version: "test", LogTo: log, Drain: 5 * time.Second,
			Listening: func(ls []roost.ListenerStatus) { up <- ls }})
	}()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-ended })
		return err
	}
	t.Cleanup(func() { stop() })
	select {
	case ls := <-up:
		for _, l := range ls {
			addrs = append(addrs, l.Address)
		}
	case err := <-ended:
		ended <- err
		t.Fatalf("balancer ended before it listened: %v", err)
	}
	return addrs, stop
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, b)
}

func TestTenCallsOfAnIdleFunctionReachOneNode(t *testing.T) {
	var calls [5]atomic.Int64
	var nodes []string
	for i := range calls {
		nodes = append(nodes, node(t, &calls[i]))
	}
	addrs, _ := balance(t, config.Flags{Listen: []string{"127.0.0.1:0"}, Nodes: nodes, State: "off", Admin: "off"}, t.Output())
	for range 10 {
		if got := get(t, "http://"+addrs[0]+"/r/app/hello"); got != "200 hello" {
			t.Fatal(got)
		}
	}
	reached := 0
	for i := range calls {
		if n := calls[i].Load(); n > 0 {
			reached++
			if n != 10 {
				t.Errorf("node %d got %d of 10 calls", i, n)
			}
		}
	}
	if reached != 1 {
		t.Errorf("%d nodes were reached", reached)
	}
}

func TestAnAcceptedRequestIsAnsweredWhileTheBalancerDrainsAndLaterConnectsAreRefused(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, "late")
	}))
	defer s.Close()
	addrs, stop := balance(t, config.Flags{Listen: []string{"127.0.0.1:0"}, Nodes: []string{s.Listener.Addr().String()}, State: "off", Admin: "off"}, t.Output())
	answer := make(chan string, 1)
	go func() { answer <- get(t, "http://"+addrs[0]+"/x") }()
	<-arrived
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	for { // the listener closes at some moment after stop began
		c, err := net.Dial("tcp", addrs[0])
		if err != nil {
			break
		}
		c.Close()
	}
	close(release)
	if got := <-answer; got != "200 late" {
		t.Errorf("answer while draining: %s", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("end: %v", err)
	}
}

func TestEveryProblemOfAStartIsReportedAtOnceAndNothingStaysOpen(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := busy.Addr().String()
	log := t.TempDir() + "/access.log"
	cfg, diags := config.FromFlags(config.Flags{Listen: []string{taken}, Nodes: []string{"127.0.0.1:1"}, State: "off", Admin: "off", Access: log})
	if diags.Failed() {
		t.Fatal(diags)
	}
	cfg.Log.Access = t.TempDir() // writable when it was checked, a directory when it is opened
	err = Run(t.Context(), cfg, Options{})
	if err == nil {
		t.Fatal("it started")
	}
	for _, want := range []string{"already in use", "access log"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}
