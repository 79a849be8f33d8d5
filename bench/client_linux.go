package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

// target is where a proxy is, and how it is spoken to.
type target struct {
	port int // on loopback
	tls  *tls.Config
}

// sources spreads connections over 127.0.0.2 and following: each has its own ports, so that a connection per request
// does not run out of them while closed ones linger in TIME_WAIT.
const sources = 64

// source is the address that connection i comes from.
func source(i int) [4]byte { return [4]byte{127, 0, 0, byte(2 + i%sources)} }

// connect opens connection number i, as whoever waits: load that is counted in single microseconds has its own way.
func (t target) connect(ctx context.Context, i int) (net.Conn, error) {
	from := source(i)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from[:]}, Control: latePort, KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", t.port))
	if err != nil || t.tls == nil {
		return conn, err
	}
	c := tls.Client(conn, t.tls)
	if err := c.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("shake hands: %w", err)
	}
	return c, nil
}

// ask sends a request and reads its answer, whose body must be want.
func ask(conn net.Conn, a *answer, req, want, buf []byte) error {
	a.begin()
	if _, err := conn.Write(req); err != nil {
		return err
	}
	return hear(conn, a, want, buf)
}

// hear reads the answer to a request that was sent, or the rest of it.
func hear(conn net.Conn, a *answer, want, buf []byte) error {
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			done, wrong := a.take(buf[:n], want)
			if done || wrong != nil {
				return wrong
			}
		}
		if err != nil {
			return err
		}
	}
}

// upgrade asks for a tunnel.
func upgrade(conn net.Conn, req []byte) error {
	if _, err := conn.Write(req); err != nil {
		return err
	}
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, headEnd); head = append(head, b[0]) { // by one, to leave what follows
		if len(head) > maxHead {
			return errAnswer
		}
		if _, err := conn.Read(b); err != nil {
			return err
		}
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) || !bytes.Contains(head, []byte(wsAccept)) {
		return fmt.Errorf("%w: asked for an upgrade, got %.100q", errAnswer, head)
	}
	return nil
}

// echo sends a masked WebSocket frame with an empty mask through a tunnel, and wants it back.
func echo(conn net.Conn) error {
	frame := []byte("\x81\x85\x00\x00\x00\x00hello")
	if _, err := conn.Write(frame); err != nil {
		return err
	}
	back := make([]byte, len(frame))
	if _, err := io.ReadFull(conn, back); err != nil {
		return err
	}
	if !bytes.Equal(back, frame) {
		return errWrong
	}
	return nil
}

// within gives a connection some time for all that follows.
func within(conn net.Conn, d time.Duration) { conn.SetDeadline(time.Now().Add(d)) }
