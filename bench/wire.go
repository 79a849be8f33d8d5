package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// The upstream's and the load generator's ends of HTTP/1.1: just what the bench sends, and strict about it.

// head is what matters of a request or response head.
type head struct {
	length  int64 // Content-Length, 0 without
	chunked bool  // a Transfer-Encoding: nobody in the bench needs one
	close   bool
}

// parseHead reads the fields of a whole head, start line and empty line included.
func parseHead(b []byte) (h head, err error) {
	_, b, _ = bytes.Cut(b, crlf) // the start line
	for {
		var line []byte
		line, b, _ = bytes.Cut(b, crlf)
		if len(line) == 0 {
			return h, nil
		}
		switch line[0] | 0x20 {
		case 'c':
			if v, ok := field(line, "content-length"); ok {
				if h.length, err = strconv.ParseInt(string(v), 10, 64); err != nil || h.length < 0 {
					return h, fmt.Errorf("content-length %q", v)
				}
			} else if v, ok := field(line, "connection"); ok {
				h.close = bytes.EqualFold(v, []byte("close"))
			}
		case 't':
			if _, ok := field(line, "transfer-encoding"); ok {
				h.chunked = true
			}
		}
	}
}

var (
	crlf    = []byte("\r\n")
	headEnd = []byte("\r\n\r\n")
)

// field returns a line's value if it has the name.
func field(line []byte, name string) ([]byte, bool) {
	if len(line) <= len(name) || line[len(name)] != ':' || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name)+1:]), true
}

// request builds the request that a connection sends again and again: some 210 bytes of head, as a browser's API call.
func request(c Case, key string) []byte {
	method := "GET"
	if c.Post > 0 {
		method = "POST"
	}
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n"+
		"X-Key: %s\r\nCookie: sid=0123456789abcdef\r\n", method, c.Path, host, key)
	if c.Upgrade {
		b = fmt.Appendf(b, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", wsKey)
	}
	if c.Post > 0 {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", c.Post)
	}
	if c.PerRequest {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, crlf...)
	return append(b, body(c.Post)...)
}

// userKey is the key of client i of the bench.
func userKey(i int) string { return fmt.Sprintf("user-%d", i*7919) }

// The sample nonce of RFC 6455, 1.3, and what it is answered by.
const (
	wsKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	wsAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// switching is the upstream's answer to an upgrade.
const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + wsAccept + "\r\n\r\n"

// response builds the upstream's answer on a path; node says which of its servers answered.
func response(node int, content []byte) []byte {
	b := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: upstream\r\nDate: Fri, 20 Nov 2026 16:58:46 GMT\r\n"+
		"Content-Type: application/octet-stream\r\nContent-Length: %d\r\nX-Node: %d\r\n\r\n", len(content), node)
	return append(b, content...)
}
