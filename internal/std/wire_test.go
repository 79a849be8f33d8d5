package std

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"roost/internal/enginetest"
)

// A waiting connection gives its buffer back after a moment, keeps its idle limit to the second, and is woken early by
// a limit that changes.
func TestAWaitingConnectionKeepsItsLimitWithoutABuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		var lend buffers
		var w wire
		w.open(near, &lend)
		var limit atomic.Int64
		limit.Store(int64(time.Minute))
		since := time.Now()
		done := make(chan error)
		bare := false // when it was woken last
		await := func() {
			done <- w.await(time.Now, since, func() time.Duration {
				bare = w.buf == nil
				return time.Duration(limit.Load())
			})
		}
		go await()
		if err := <-done; !isTimeout(err) || time.Since(since) != time.Minute || !bare {
			t.Errorf("ended with %v after %v, without a buffer: %v", err, time.Since(since), bare)
		}

		since = time.Now()
		go await()
		<-time.After(quiet / 2) // of the bubble's clock
		near.SetReadDeadline(unknown)
		<-time.After(30 * time.Second)
		limit.Store(int64(31 * time.Second))
		near.SetReadDeadline(unknown)
		if err := <-done; !isTimeout(err) || time.Since(since) != 31*time.Second {
			t.Errorf("ended with %v after %v", err, time.Since(since))
		}

		since = time.Now()
		limit.Store(0)
		go await()
		<-time.After(time.Hour)
		go far.Write([]byte("hello"))
		if err := <-done; err != nil || string(w.pending()) != "h" {
			t.Errorf("%q, %v", w.pending(), err)
		}
		if err := w.fill(time.Now); err != nil || string(w.pending()) != "hello" {
			t.Errorf("%q, %v", w.pending(), err)
		}
		near.Close()
		far.Close()
	})
}

// Whoever wakes a reader for a reason that has passed costs it nothing: a drain wakes connections that were idle a moment
// before.
func TestAReaderThatIsWokenInVainGoesOn(t *testing.T) {
	n := enginetest.Node(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	p := start(t, nil, n)
	c, br := p.Send("POST / HTTP/1.1\r\nHo")
	wake := func() {
		for i := 0; i < 100; i++ { // whatever it waits for just now
			p.e.mu.Lock()
			for c := range p.e.conns {
				c.nc.SetReadDeadline(unknown)
			}
			p.e.mu.Unlock()
			runtime.Gosched()
		}
	}
	wake()
	io.WriteString(c, "st: h\r\nContent-Length: 5\r\n\r\nhe")
	wake()
	io.WriteString(c, "llo")
	if res, body := enginetest.ReadAnswer(t, br, "POST"); res.StatusCode != 200 || body != "hello" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}
