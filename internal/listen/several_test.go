package listen

import (
	"net"
	"sync"
	"testing"
	"time"
)

// told is a listener that tells when it has accepted a connection, before it gives it.
type told struct {
	net.Listener
	accepted chan struct{}
}

func (l told) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- struct{}{}
	}
	return conn, err
}

// Whoever serves may close a listener under a lock that its loop of Accept needs for each connection, as the engine does
// when it hands over.
func TestCloseDoesNotWaitForThoseWhoAccept(t *testing.T) {
	accepted := make(chan struct{}, 2)
	ln := newSeveral([]net.Listener{told{open(t, "127.0.0.1:0"), accepted}, told{open(t, "127.0.0.1:0"), accepted}})
	var mu sync.Mutex
	mu.Lock()
	served := make(chan int)
	go func() {
		n := 0
		defer func() { served <- n }()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			n++
			mu.Unlock()
			conn.Close()
		}
	}()
	for _, one := range ln.lns {
		conn, err := net.Dial("tcp", one.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		<-accepted
	}
	began := time.Now()
	ln.Close()
	if took := time.Since(began); took >= heldLimit {
		t.Errorf("it took %v", took)
	}
	mu.Unlock()
	if n := <-served; n != 2 {
		t.Errorf("of 2 connections that were accepted, %d were served", n)
	}
}
