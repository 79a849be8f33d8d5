//go:build linux

package reactor

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
)

// A body is the same by pipe as by copy: of any length around what decides, with a length and without, up and down, with a
// reader that is slow at first.
func TestBodiesGoThroughPipesUnchanged(t *testing.T) {
	n := node(t, func(c *net.TCPConn, _ int) {
		br := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			b, _ := io.ReadAll(req.Body)
			switch req.URL.Path {
			case "/length":
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(b))
			case "/close":
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
			}
			c.Write(b)
			if req.URL.Path == "/close" {
				return
			}
		}
	})
	p := start(t, nil, n)
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, path := range []string{"/length", "/close"} {
		for _, size := range []int{1, spliceFrom - 1, spliceFrom, 2*spliceFrom + 1, 1 << 20, 5 << 20} {
			sent := random(rnd, size)
			c, br := p.dial(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", path, size))
			go c.Write(sent)
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("%s, %d bytes: %v", path, size, err)
			}
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%s, %d bytes: %d came, %v", path, size, len(got), err)
			}
			c.Close()
		}
	}
}

func TestABodyThatBreaksOffInAPipeIsNotWhole(t *testing.T) {
	const size, sent = 4 << 20, 3 << 20
	p := start(t, nil, node(t, func(c *net.TCPConn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		c.Write(make([]byte, sent))
	}))
	_, br := p.dial("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, res.Body); err != io.ErrUnexpectedEOF || n != sent {
		t.Errorf("%d bytes, %v", n, err)
	}
	if r := p.wait(1); !r.Aborted || r.BytesOut != sent {
		t.Errorf("%+v", r)
	}
}

func TestAClientThatLeavesInTheMiddleOfABodyLeavesNothingBehind(t *testing.T) {
	p := start(t, nil, node(t, func(c *net.TCPConn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 64<<20)
		io.CopyN(c, zeros{}, 64<<20)
	}))
	for i := range 4 {
		c, br := p.dial("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		io.CopyN(io.Discard, br, 1<<20)
		c.Close()
		if r := p.wait(i + 1); !r.Aborted {
			t.Errorf("%+v", r)
		}
	}
}

// More clients than pipes: what finds none is copied, and neither waits for the other.
func TestWithoutAPipeBytesAreCopied(t *testing.T) {
	const size = 2 << 20
	body := random(rand.New(rand.NewPCG(2, 2)), size)
	want := sha256.Sum256(body)
	p := start(t, nil, node(t, func(c *net.TCPConn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		c.Write(body)
	}))
	var all []*bufio.Reader
	for range 2*maxPipes + 20 { // each has filled its pipe before the first is read
		_, br := p.dial("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		br.ReadByte()
		br.UnreadByte()
		all = append(all, br)
	}
	for i, br := range all {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if n, err := io.Copy(h, res.Body); n != size || err != nil || [32]byte(h.Sum(nil)) != want {
			t.Errorf("%d: %d bytes, %v", i, n, err)
		}
	}
}
