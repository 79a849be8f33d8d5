package serve

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"roost"
	"roost/internal/api"
)

// stubborn is a writer that takes nothing while it is shut.
type stubborn struct {
	shut chan struct{} // closed when it opens
	took chan string
}

func (s stubborn) Write(b []byte) (int, error) {
	<-s.shut
	s.took <- string(b)
	return len(b), nil
}

func TestALogThatNobodyReadsHoldsNobodyUpAndSaysLaterHowMuchIsMissing(t *testing.T) {
	t.Parallel() // it waits for a limit
	w := stubborn{make(chan struct{}), make(chan string, 10)}
	h := newLogHandler(w)
	h.use(roost.Log{})
	log := func(text string) {
		h.Handle(t.Context(), record(text))
	}
	for _, text := range []string{"late", "lost", "lost too"} { // a line that is waited for for ever would end the test
		log(text)
	}
	close(w.shut)
	if text := <-w.took; !strings.Contains(text, "msg=late") {
		t.Fatalf("first: %q", text)
	}
	for len(w.took) == 0 { // until it is known that the late line is written
		log("after")
	}
	text := <-w.took
	if !strings.Contains(text, "lines=") {
		t.Errorf("it does not say what is missing: %q", text)
	}
	if !strings.Contains(text, "level=WARN") || strings.Contains(text, "lines=1\n") {
		t.Errorf("what it says of the missing lines: %q", text)
	}
	if text = <-w.took; !strings.Contains(text, "msg=after") {
		t.Errorf("after it: %q", text)
	}
}

func TestAnAccessLogThatNobodyReadsEndsNoBalancer(t *testing.T) {
	t.Parallel() // it waits for a limit
	node, _ := echo(t, "n")
	file := filepath.Join(t.TempDir(), "access.log")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	conf := func(access string) string {
		return fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\nlog: { access: %s }\n", node, access)
	}
	h := build(t, conf(file), houseOptions{})
	conn := dial(t, h.addr("web"))
	for range 600 { // a pipe takes 64 KiB
		conn.get("/x")
	}
	h.write(conf("off"))
	h.reloaded()
	h.log.await(0, "the access log did not end well")
	if body, _ := conn.get("/y"); body != "n /y" || h.Status().Draining {
		t.Errorf("then: %q, draining %v", body, h.Status().Draining)
	}
	reader.Close()
	if err := h.end(); err != nil {
		t.Errorf("end: %v", err)
	}
}

func TestAnAdminRequestThatDoesNotFinishEndsNoBalancer(t *testing.T) {
	t.Parallel() // it waits for a limit
	node, _ := echo(t, "n")
	dir := state(t)
	conf := func(more string) string {
		return fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\nstate: %s\nadmin: { listen: off, %s }\n", node, dir, more)
	}
	h := build(t, conf("socket: "+dir+"/first.sock"), houseOptions{})
	asking, err := net.Dial("unix", dir+"/first.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer asking.Close()
	// The body is asked for once it is awaited.
	fmt.Fprint(asking, "POST /api/v1/explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
	if _, err := io.ReadFull(asking, make([]byte, len("HTTP/1.1 100 Continue\r\n"))); err != nil {
		t.Fatal(err)
	}
	h.write(conf("socket: " + dir + "/second.sock"))
	h.reloaded()
	h.log.await(0, "an admin listener was cut off")
	if status := overSocket(t, dir+"/second.sock").do(http.MethodGet, "/api/v1/status", "", nil); status != 200 || h.Status().Draining {
		t.Errorf("then: %d, draining %v", status, h.Status().Draining)
	}
	if err := h.end(); err != nil {
		t.Errorf("end: %v", err)
	}
}

func TestAListenerThatIsRetiredAsSoonAsItIsServedIsClosed(t *testing.T) {
	node, _ := echo(t, "n")
	h := build(t, fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\n", node), houseOptions{})
	for i := range roost.ListenerID(20) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f := &front{id: 1 + i, ln: newClosing(ln), secrecy: newSecrecy(), conf: &roost.Listener{Name: "short"}, retired: true}
		h.serve(f)
		h.engine.Retire(f.id)
		awaitClosed([]*front{f})
		if refused(t, ln.Addr().String()); t.Failed() {
			return
		}
	}
}

func TestSignalsBeforeTheStartIsOverDoNoHarm(t *testing.T) {
	node, _ := echo(t, "n")
	signalled := make(chan api.Reload, 1)
	h := build(t, fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\n", node), houseOptions{before: func(b *Balancer) {
		b.ReopenLogs()
		ended, end := context.WithCancel(t.Context())
		end()
		if r := b.Reload(ended, BySignal, false); r.OK || !strings.Contains(r.Errors[0].Message, "wait for another change") {
			t.Errorf("before the start: %+v", r)
		}
		go func() { signalled <- b.Reload(t.Context(), BySignal, false) }()
	}})
	if r := <-signalled; !r.OK {
		t.Errorf("reload: %+v", r)
	}
	if s := h.Status(); !s.Reload.OK {
		t.Errorf("status: %+v", s.Reload)
	}
}

func TestWhoWaitsDuringAnUpgradeGoesOnWhenItFailedAndIsToldWhenItDidNot(t *testing.T) {
	node, _ := echo(t, "n")
	h := build(t, fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\n", node), houseOptions{})
	upgrading := func() {
		t.Helper()
		if err := h.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.upgrading.Store(true)
	}
	upgrading()
	ended, end := context.WithCancel(t.Context())
	end()
	if r := h.Reload(ended, BySignal, false); r.OK || !strings.Contains(r.Errors[0].Message, "wait for another change") {
		t.Errorf("a signal: %+v", r)
	}
	signalled := make(chan api.Reload, 1)
	go func() { signalled <- h.Reload(t.Context(), BySignal, false) }()
	h.upgrading.Store(false)
	h.turn.give()
	if r := <-signalled; !r.OK {
		t.Errorf("a signal, when the upgrade had failed: %+v", r)
	}

	dial(t, h.addr("web")).upgrade("/ws") // keeps this process here
	upgrading()
	waits := make(chan error, 1)
	go func() { waits <- h.Balancer.await(t.Context()) }()
	close(h.handed)
	if c, ok := (<-waits).(*roost.ChangeError); !ok || c.Code != roost.CodeEnding {
		t.Errorf("who waits when another process serves: %v", c)
	}
}

// record is a line of the log.
func record(text string) slog.Record { return slog.NewRecord(time.Now(), slog.LevelInfo, text, 0) }
