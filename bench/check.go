package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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

func dial(ctx context.Context, port int) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(checkTimeout)); err != nil {
		conn.Close()
		return nil, err
	}
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
// has one node and the keys spread over the nodes, the client's address is passed on, connections to nodes are kept.
func check(ctx context.Context, port int) error {
	one, err := dial(ctx, port)
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
	if err := checkHead(one); err != nil {
		return err
	}
	return checkAffinity(ctx, one, port)
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
		if req.Host != "lb.example.test" {
			return fmt.Errorf("a node saw Host: %q", req.Host)
		}
		if ip := req.Header.Get("X-Forwarded-For"); ip != "127.0.0.1" {
			return fmt.Errorf("a node saw X-Forwarded-For: %q", ip)
		}
		if seq != "1" {
			return nil // a kept connection
		}
	}
	return errors.New("connections to nodes are not kept")
}

// checkAffinity asks for many keys, over a connection of their own each and over a shared one.
func checkAffinity(ctx context.Context, shared *client, port int) error {
	const keys = 64 // that none of four nodes has a tenth of its share of them is no chance
	seen := map[string]int{}
	for i := range keys {
		key := fmt.Sprintf("key-%d", i)
		own, err := dial(ctx, port)
		if err != nil {
			return err
		}
		a, _, err := own.do(Case{Path: pathSmall}, key)
		own.conn.Close()
		if err != nil {
			return err
		}
		b, _, err := shared.do(Case{Path: pathSmall}, key)
		if err != nil {
			return err
		}
		if a != b || a == "" {
			return fmt.Errorf("no affinity: key %q was answered by node %s, then by node %s", key, a, b)
		}
		seen[a]++
	}
	if len(seen) != nodes {
		return fmt.Errorf("%d keys went to %d of %d nodes", keys, len(seen), nodes)
	}
	return nil
}
