package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// Drips is what a crowd of slow clients tells: when it stands, and when it ends.
type Drips struct {
	Open int // connections that stand
	Cut  int // how often the proxy ended one, or did not take it; each is opened again
}

// dripper is a crowd of clients that never finish a request head.
type dripper struct {
	load  *Load
	conns []net.Conn // nil: to be opened again
	cut   int
}

const (
	// dripEvery is how often some of the clients send: the bytes of all are spread over dripRound.
	dripEvery = 10 * time.Millisecond
	// dripRound is how often each client sends a byte.
	dripRound = time.Second
)

// drip opens connections on which it sends a request head, a byte a second each, until in ends.
func (l *Load) drip(ctx context.Context, in io.Reader, out io.Writer) error {
	d := &dripper{load: l, conns: make([]net.Conn, l.Case.Conns)}
	defer d.hangUp()
	if err := crowd(len(d.conns), func(i int, _ []byte) error { return d.open(ctx, i) }); err != nil {
		return err
	}
	tell := json.NewEncoder(out)
	if err := tell.Encode(d.count()); err != nil {
		return fmt.Errorf("say that we drip: %w", err)
	}
	ended := make(chan struct{})
	go func() { // until our parent closes our input, or ends
		defer close(ended)
		io.Copy(io.Discard, in)
	}()
	tick := time.NewTicker(dripEvery)
	defer tick.Stop()
	groups := int(dripRound / dripEvery)
	for group := 0; ; group = (group + 1) % groups {
		select {
		case <-ended:
			return tell.Encode(d.count())
		case <-tick.C:
			d.step(ctx, group, groups)
		}
	}
}

// open connects client i and sends the start of its head.
func (d *dripper) open(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := d.load.target().connect(ctx, i)
	if err != nil {
		return err
	}
	d.conns[i] = conn
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nX-Drip: ", pathSmall, host)
	return err
}

// step sends a byte on each connection of a group.
func (d *dripper) step(ctx context.Context, group, groups int) {
	for i := group; i < len(d.conns); i += groups {
		var err error
		if d.conns[i] == nil {
			err = d.open(ctx, i)
		} else {
			_, err = d.conns[i].Write([]byte("x"))
		}
		if err != nil {
			d.cut++
			if d.conns[i] != nil {
				d.conns[i].Close()
				d.conns[i] = nil
			}
		}
	}
}

func (d *dripper) count() Drips {
	n := Drips{Cut: d.cut}
	for _, c := range d.conns {
		if c != nil {
			n.Open++
		}
	}
	return n
}

func (d *dripper) hangUp() {
	for _, c := range d.conns {
		if c != nil {
			c.Close()
		}
	}
}
