package std

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"roost"
	"roost/internal/enginetest"
)

func TestAPrefaceThatDripsHasTheTimeOfAHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := &enginetest.Setup{}
		set.Listener, set.Pool = enginetest.Settings()
		var snap atomic.Pointer[roost.Snapshot]
		snap.Store(enginetest.Snapshot(set, "127.0.0.1:1"))
		e := New(Options{Snapshot: &snap})
		near, far := net.Pipe()
		c := &conn{e: e, f: &front{e: e}, nc: near}
		c.w.open(near, &e.buffers)
		var drip sync.WaitGroup
		drip.Go(func() {
			for _, b := range []byte(http2.ClientPreface) {
				if _, err := far.Write([]byte{b}); err != nil {
					return
				}
				<-time.After(9 * time.Second) // of the bubble's clock
			}
		})
		began := time.Now()
		if c.prefaced() || time.Since(began) != set.Listener.HeadTimeout {
			t.Errorf("waited for %v", time.Since(began))
		}
		near.Close()
		drip.Wait()
	})
}

func TestAConnectionThatIsOneTooManyCountsUntilItIsClosed(t *testing.T) {
	p := start(t, func(s *enginetest.Setup) { s.Listener.MaxConns = 1 }, enginetest.Node(t, func(w http.ResponseWriter, r *http.Request) {}))
	_, br := p.Send(enginetest.CRLF("GET / HTTP/1.1", "Host: h"))
	enginetest.ReadAnswer(t, br, "GET")
	c, br := p.Send("")
	if res, _ := enginetest.ReadAnswer(t, br, "GET"); res.StatusCode != 503 {
		t.Errorf("%d", res.StatusCode)
	}
	enginetest.Ended(t, br) // our side is shut: we wait for the client's
	p.e.mu.Lock()
	for f := range p.e.fronts {
		if f.shed.Load() != 1 {
			t.Errorf("%d connections are being told", f.shed.Load())
		}
	}
	p.e.mu.Unlock()
	c.Close()
}
