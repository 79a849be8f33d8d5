package std

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestATunnelThatWasSilentStillHasTimeAfterOneSideEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{})
		var to, from wire
		node, nodeFar := net.Pipe()
		client, clientFar := net.Pipe()
		from.open(node, &e.buffers)
		to.open(client, &e.buffers)
		tun := &tunnel{half: time.Minute}
		done := make(chan error, 1)
		var count atomic.Int64
		go func() { done <- tun.pour(e, &to, &from, &count) }()
		<-time.After(time.Hour) // of the bubble's clock
		tun.ended.Store(time.Now().UnixNano())
		node.SetReadDeadline(unknown)
		<-time.After(59 * time.Second)
		go nodeFar.Write([]byte("the last word"))
		b := make([]byte, 13)
		if _, err := io.ReadFull(clientFar, b); err != nil || string(b) != "the last word" {
			t.Errorf("%q, %v", b, err)
		}
		said := time.Now()
		if err := <-done; !isTimeout(err) || time.Since(said) != time.Minute {
			t.Errorf("ended with %v after %v", err, time.Since(said))
		}
	})
}

func TestTunnelsOfACutNodeEndWithinASecond(t *testing.T) {
	if worst := upkeepEvery + cutGrace + 2*upkeepEvery; worst >= time.Second {
		t.Errorf("they end within %v", worst)
	}
}
