package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// loops is onePool, or another text, for a balancer with event loops.
func loops(text string) string { return "engine: reactor\nloops: 2\n" + text }

// The loops do not speak HTTP/2, so such a connection is passed on: a client sees nothing of it, and it counts once.
func TestHTTP2IsPassedOnFromTheLoops(t *testing.T) {
	node, _ := echo(t, "n")
	addr := freeAddr(t)
	h := build(t, loops(fmt.Sprintf("listeners: { web: { address: %q } }\npools: { fn: { nodes: [ %s ] } }\n", addr, node)), houseOptions{})
	if body, _ := dial(t, addr).get("/one"); body != "n /one" {
		t.Errorf("HTTP/1.1: %q", body)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	defer tr.CloseIdleConnections()
	for range 3 {
		res, err := (&http.Client{Transport: tr, Timeout: patience}).Get("http://" + addr + "/two")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.ProtoMajor != 2 || string(body) != "n /two" {
			t.Errorf("%s: %q", res.Proto, body)
		}
	}
	if n := h.open(); n != 2 {
		t.Errorf("%d connections are counted, not 2", n)
	}
	var passed int64
	for _, l := range h.stats() {
		passed += l.Passed
	}
	if passed != 1 {
		t.Errorf("%d connections were passed on, not 1", passed)
	}
	if err := h.end(); err != nil { // with both still open
		t.Errorf("the end: %v", err)
	}
}

// Both engines have the whole time, and what the loops pass on while they end is ended too.
func TestAnEndOfTwoEnginesIsTheEndOfBoth(t *testing.T) {
	cut := func(n int) error { return fmt.Errorf("%d connections cut off", n) }
	for _, x := range []struct {
		loops, first, second error
		want                 string
	}{
		{nil, nil, nil, ""},
		{cut(3), nil, nil, "3 connections cut off"},
		{nil, cut(1), nil, "1 connections cut off"},
		{nil, nil, cut(1), "1 connections cut off"},
		{cut(3), cut(1), nil, "3 connections cut off, and of those in HTTP/2 1 connections cut off"},
	} {
		begun, calls := make(chan struct{}), 0
		err := finish(t.Context(), func(context.Context) error {
			<-begun // it is not awaited before the other begins
			return x.loops
		}, func(context.Context) error {
			if calls++; calls == 1 {
				close(begun)
				return x.first
			}
			return x.second
		})
		if got := fmt.Sprint(err); err == nil && x.want != "" || err != nil && got != x.want {
			t.Errorf("%v, want %q", err, x.want)
		}
		if x.loops != nil && !errors.Is(err, x.loops) {
			t.Errorf("%v does not wrap that of the loops", err)
		}
		if calls != 2 {
			t.Errorf("std was ended %d times", calls)
		}
	}
}

// A listener of another address may take the sockets of the one before along, and is then served by the same loops.
func TestLoopsServeASocketThatGoesFromOneListenerToTheNext(t *testing.T) {
	node, _ := echo(t, "n")
	precise := freeAddr(t)
	wide := precise[strings.LastIndex(precise, ":"):]
	text := func(addr string) string {
		return loops(fmt.Sprintf("listeners: { web: { address: %q } }\npools: { fn: { nodes: [ %s ] } }\n", addr, node))
	}
	h := build(t, text(precise), houseOptions{})
	for range 20 {
		for _, addr := range []string{wide, precise} {
			h.write(text(addr))
			h.reloaded()
			for range 5 {
				dial(t, precise).get("/x")
			}
		}
	}
}
