package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// checkTimeout bounds all that is asked of one contestant before its runs.
const checkTimeout = 10 * time.Second

// client talks to one contestant over one kept connection, strictly.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

// dial opens a connection from source address i.
func (t target) dial(ctx context.Context, i int) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	conn, err := t.connect(ctx, i)
	if err != nil {
		return nil, err
	}
	within(conn, checkTimeout)
	return &client{conn: conn, r: bufio.NewReader(conn)}, nil
}

// do sends one request and returns the answering node and the body.
func (c *client) do(cs Case, key string) (node string, content []byte, err error) {
	if _, err := c.conn.Write(request(cs, key)); err != nil {
		return "", nil, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	content, err = io.ReadAll(resp.Body)
	if err != nil {
		return "", nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("status %s: %.200s", resp.Status, content)
	}
	return resp.Header.Get("X-Node"), content, nil
}

// check finds out whether a contestant does the work that it is measured for: bodies are right to the byte, each key
// has one node and the keys spread over the nodes, the client's address is passed on, connections to nodes are kept. Of a
// relay the first two are asked, and that it changes nothing; of TLS, that it is the one that all speak.
func check(ctx context.Context, t target, front Front) error {
	one, err := t.dial(ctx, 0)
	if err != nil {
		return err
	}
	defer one.conn.Close()
	for _, cs := range []Case{{Path: pathSmall}, {Path: path64K}, {Path: path1M}, {Path: pathSmall, Post: 16 << 10}, {Path: path64K, Post: 1}} {
		_, content, err := one.do(cs, "body")
		if err != nil {
			return fmt.Errorf("%s with a body of %d bytes: %w", cs.Path, cs.Post, err)
		}
		if !bytes.Equal(content, body(bodySize(cs.Path))) {
			return fmt.Errorf("%s with a body of %d bytes: wrong bytes in the answer", cs.Path, cs.Post)
		}
	}
	switch front {
	case Relay:
		if err := checkRelayed(one); err != nil {
			return err
		}
		return checkSources(ctx, t)
	case TLS:
		st := one.conn.(*tls.Conn).ConnectionState()
		if st.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || st.CurveID != tls.X25519 || st.DidResume {
			return fmt.Errorf("TLS with %s and %v, resumed: %t", tls.CipherSuiteName(st.CipherSuite), st.CurveID, st.DidResume)
		}
	}
	if err := checkHead(one); err != nil {
		return err
	}
	return checkAffinity(ctx, one, t)
}

// checkHead looks at a request as the node saw it.
func checkHead(c *client) error {
	for range 2 {
		_, content, err := c.do(Case{Path: pathHead}, "seen")
		if err != nil {
			return fmt.Errorf("%s: %w", pathHead, err)
		}
		seq, text, _ := strings.Cut(string(content), "\r\n")
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return fmt.Errorf("the request that a node saw: %w", err)
		}
		if key := req.Header.Get("X-Key"); key != "seen" {
			return fmt.Errorf("a node saw X-Key: %q", key)
		}
		if req.Host != host {
			return fmt.Errorf("a node saw Host: %q", req.Host)
		}
		if ip := req.Header.Get("X-Forwarded-For"); ip != netip.AddrFrom4(source(0)).String() {
			return fmt.Errorf("a node saw X-Forwarded-For: %q", ip)
		}
		if seq != "1" {
			return nil // a kept connection
		}
	}
	return errors.New("connections to nodes are not kept")
}

// checkAffinity asks for many keys, over a connection of their own each and over a shared one.
func checkAffinity(ctx context.Context, shared *client, t target) error {
	const keys = 64 // that none of four nodes has a tenth of its share of them is no chance
	var first, second [keys]string
	for i := range keys {
		key := fmt.Sprintf("key-%d", i)
		var err error
		if first[i], err = t.node(ctx, 0, key); err != nil {
			return err
		}
		if second[i], _, err = shared.do(Case{Path: pathSmall}, key); err != nil {
			return err
		}
	}
	return affine("key", first[:], second[:])
}

// checkRelayed finds out whether a relay leaves alone what it carries: one that reads and writes HTTP is none.
func checkRelayed(c *client) error {
	cs := Case{Path: pathHead}
	_, content, err := c.do(cs, "relayed")
	if err != nil {
		return fmt.Errorf("%s: %w", pathHead, err)
	}
	if _, text, _ := strings.Cut(string(content), "\r\n"); text != string(request(cs, "relayed")) {
		return fmt.Errorf("no relay: a node saw other bytes than were sent: %.200q", text[max(len(text)-200, 0):])
	}
	return nil
}

// checkSources connects from many addresses, twice.
func checkSources(ctx context.Context, t target) error {
	var first, second [sources]string
	for i := range sources {
		var err error
		if first[i], err = t.node(ctx, i, "any"); err != nil {
			return err
		}
		if second[i], err = t.node(ctx, i, "another"); err != nil {
			return err
		}
	}
	return affine("address", first[:], second[:])
}

// node returns who answers over a connection of its own.
func (t target) node(ctx context.Context, i int, key string) (string, error) {
	c, err := t.dial(ctx, i)
	if err != nil {
		return "", err
	}
	defer c.conn.Close()
	node, _, err := c.do(Case{Path: pathSmall}, key)
	return node, err
}

// affine compares who answered each of many keys the first and the second time.
func affine(what string, first, second []string) error {
	seen := map[string]bool{}
	for i, a := range first {
		if b := second[i]; a != b || a == "" {
			return fmt.Errorf("no affinity: %s %d was answered by node %s, then by node %s", what, i, a, b)
		}
		seen[a] = true
	}
	if len(seen) != nodes {
		return fmt.Errorf("%d keys went to %d of %d nodes", len(first), len(seen), nodes)
	}
	return nil
}
