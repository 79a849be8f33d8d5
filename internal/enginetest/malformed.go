package enginetest

import (
	"strings"
	"testing"

	"roost"
)

// Each request is either refused with exactly this status and code, and no node hears of it, or it reaches the node as
// exactly these bytes. Nothing is forwarded that a node could read in another way than this balancer did.
func (engine subject) TestMalformedAndAmbiguousRequests(t *testing.T) {
	big := strings.Repeat("a", 40<<10)
	for _, c := range []struct {
		name, send string
		status     int
		code       string // of the refusal
		node       string // what the node gets, else
	}{
		// Lines.
		{"plain", CRLF("GET /a HTTP/1.1", "Host: h"), 200, "", CRLF("GET /a HTTP/1.1", "Host: h")},
		{"one empty line before", "\r\n" + CRLF("GET / HTTP/1.1", "Host: h"), 200, "", CRLF("GET / HTTP/1.1", "Host: h")},
		{"many empty lines before", "\r\n\r\n\r\n\r\n" + CRLF("GET / HTTP/1.1", "Host: h"), 400, "empty_lines", ""},
		{"bare LF", "GET / HTTP/1.1\nHost: h\n\n", 400, "bare_lf", ""},
		{"bare LF in a field line", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400, "bare_lf", ""},
		{"bare CR in a value", "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400, "bare_cr", ""},
		{"obs-fold", "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400, "obs_fold", ""},
		{"space before the first field", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400, "obs_fold", ""},

		// Request lines.
		{"HTTP/0.9", "GET /\r\n\r\n", 400, "http09", ""},
		{"HTTP/2.0 by name", CRLF("GET / HTTP/2.0", "Host: h"), 505, "version_unsupported", ""},
		{"HTTP/3.7", CRLF("GET / HTTP/3.7", "Host: h"), 505, "version_unsupported", ""},
		{"lower-case version", CRLF("GET / http/1.1", "Host: h"), 400, "version_invalid", ""},
		{"version without a minor", CRLF("GET / HTTP/1", "Host: h"), 400, "version_invalid", ""},
		{"version with two digits", CRLF("GET / HTTP/1.10", "Host: h"), 400, "version_invalid", ""},
		{"two spaces before the target", CRLF("GET  / HTTP/1.1", "Host: h"), 400, "target_invalid", ""},
		{"two spaces before the version", CRLF("GET /  HTTP/1.1", "Host: h"), 400, "version_invalid", ""},
		{"tab for a space", CRLF("GET\t/ HTTP/1.1", "Host: h"), 400, "method_invalid", ""},
		{"space in the target", CRLF("GET /a b HTTP/1.1", "Host: h"), 400, "version_invalid", ""},
		{"NUL in the target", CRLF("GET /a\x00b HTTP/1.1", "Host: h"), 400, "target_invalid", ""},
		{"fragment in the target", CRLF("GET /a#b HTTP/1.1", "Host: h"), 400, "target_invalid", ""},
		{"bytes beyond ASCII in the target", CRLF("GET /\xc3\xa9 HTTP/1.1", "Host: h"), 400, "target_invalid", ""},
		{"no slash before the path", CRLF("GET a HTTP/1.1", "Host: h"), 400, "target_invalid", ""},
		{"brackets in the method", CRLF("G(T / HTTP/1.1", "Host: h"), 400, "method_invalid", ""},
		{"a method longer than any", CRLF(strings.Repeat("M", 300)+" / HTTP/1.1", "Host: h"), 501, "method_too_long", ""},
		{"TLS on a clear port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "tls_on_clear_text", ""},
		{"an unknown method", CRLF("BREW /pot HTTP/1.1", "Host: h"), 200, "", CRLF("BREW /pot HTTP/1.1", "Host: h")},
		{"a lower-case method is another method", CRLF("get / HTTP/1.1", "Host: h"), 200, "", CRLF("get / HTTP/1.1", "Host: h")},
		{"target too long", CRLF("GET /"+big+" HTTP/1.1", "Host: h"), 414, "request_line_too_long", ""},
		{"CONNECT", CRLF("CONNECT h:443 HTTP/1.1", "Host: h:443"), 501, "method_connect", ""},
		{"asterisk for GET", CRLF("GET * HTTP/1.1", "Host: h"), 400, "target_form", ""},
		{"asterisk for OPTIONS", CRLF("OPTIONS * HTTP/1.1", "Host: h"), 200, "", CRLF("OPTIONS * HTTP/1.1", "Host: h")},
		{"absolute form", CRLF("GET http://h/a?b HTTP/1.1", "Host: h"), 200, "", CRLF("GET /a?b HTTP/1.1", "Host: h")},
		{"absolute form without a path", CRLF("GET http://h HTTP/1.1", "Host: h"), 200, "", CRLF("GET / HTTP/1.1", "Host: h")},
		{"absolute form with only a query", CRLF("GET http://h?b HTTP/1.1", "Host: h"), 200, "", CRLF("GET /?b HTTP/1.1", "Host: h")},
		{"absolute form, OPTIONS of the server", CRLF("OPTIONS http://h HTTP/1.1", "Host: h"), 200, "", CRLF("OPTIONS * HTTP/1.1", "Host: h")},
		{"absolute form against Host", CRLF("GET http://a/ HTTP/1.1", "Host: b"), 400, "host_mismatch", ""},
		{"absolute form with user information", CRLF("GET http://u@h/ HTTP/1.1", "Host: h"), 400, "target_userinfo", ""},
		{"a target of another scheme", CRLF("GET ftp://h/ HTTP/1.1", "Host: h"), 400, "target_invalid", ""},

		// Host.
		{"no Host", CRLF("GET / HTTP/1.1", "X: y"), 400, "host_missing", ""},
		{"two Hosts", CRLF("GET / HTTP/1.1", "Host: a", "Host: b"), 400, "host_duplicate", ""},
		{"two equal Hosts", CRLF("GET / HTTP/1.1", "Host: a", "host: a"), 400, "host_duplicate", ""},
		{"empty Host", CRLF("GET / HTTP/1.1", "Host:"), 400, "host_empty", ""},
		{"two names in Host", CRLF("GET / HTTP/1.1", "Host: a, b"), 400, "host_invalid", ""},
		{"a path in Host", CRLF("GET / HTTP/1.1", "Host: a/b"), 400, "host_invalid", ""},
		{"a user in Host", CRLF("GET / HTTP/1.1", "Host: u@a"), 400, "host_invalid", ""},
		{"a port that is no number", CRLF("GET / HTTP/1.1", "Host: a:b"), 400, "host_invalid", ""},
		{"IPv6 in Host", CRLF("GET / HTTP/1.1", "Host: [::1]:80"), 200, "", CRLF("GET / HTTP/1.1", "Host: [::1]:80")},

		// Fields.
		{"space before the colon", CRLF("GET / HTTP/1.1", "Host: h", "X : y"), 400, "field_name_space", ""},
		{"no colon", CRLF("GET / HTTP/1.1", "Host: h", "X"), 400, "field_colon_missing", ""},
		{"no name", CRLF("GET / HTTP/1.1", "Host: h", ": y"), 400, "field_name_invalid", ""},
		{"control byte in a name", CRLF("GET / HTTP/1.1", "Host: h", "X\x01: y"), 400, "field_name_invalid", ""},
		{"byte beyond ASCII in a name", CRLF("GET / HTTP/1.1", "Host: h", "X\xe9: y"), 400, "field_name_invalid", ""},
		{"NUL in a value", CRLF("GET / HTTP/1.1", "Host: h", "X: a\x00b"), 400, "field_value_invalid", ""},
		{"white space around a value", CRLF("GET / HTTP/1.1", "Host:\t h \t", "X:   y\t"), 200, "", CRLF("GET / HTTP/1.1", "Host: h", "X: y")},
		{"underscores in a name", CRLF("GET / HTTP/1.1", "Host: h", "Fn_call_id: 1"), 200, "", CRLF("GET / HTTP/1.1", "Host: h", "Fn_call_id: 1")},
		{"case and order of fields", CRLF("GET / HTTP/1.1", "b: 1", "HOST: h", "A: 2"), 200, "", CRLF("GET / HTTP/1.1", "b: 1", "HOST: h", "A: 2")},
		{"head too large", CRLF("GET / HTTP/1.1", "Host: h", "X: "+big), 431, "head_too_large", ""},
		{"too many fields", CRLF("GET / HTTP/1.1", "Host: h"+strings.Repeat("\r\nX: y", 100)), 431, "too_many_fields", ""},

		// Framing.
		{"length and chunked", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400, "length_and_chunked", ""},
		{"chunked and length", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n", 400, "length_and_chunked", ""},
		{"two lengths", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 1", "Content-Length: 2") + "ab", 400, "length_duplicate", ""},
		{"two equal lengths", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 1", "Content-Length: 1") + "a", 400, "length_duplicate", ""},
		{"a list of lengths", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 1, 1") + "a", 400, "length_invalid", ""},
		{"signed length", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: +1") + "a", 400, "length_invalid", ""},
		{"negative length", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: -1") + "a", 400, "length_invalid", ""},
		{"hexadecimal length", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 0x1") + "a", 400, "length_invalid", ""},
		{"overlong length", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 18446744073709551617") + "a", 400, "length_invalid", ""},
		{"empty length", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length:"), 400, "length_invalid", ""},
		{"length with leading zeros", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 002") + "ab", 200, "", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 2") + "ab"},
		{"chunked not last", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked, gzip") + "0\r\n\r\n", 400, "transfer_encoding_invalid", ""},
		{"chunked twice", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked, chunked") + "0\r\n\r\n", 400, "transfer_encoding_invalid", ""},
		{"Transfer-Encoding twice", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400, "transfer_encoding_duplicate", ""},
		{"identity", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: identity"), 501, "transfer_coding_unknown", ""},
		{"gzip below chunked", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: gzip, chunked") + "0\r\n\r\n", 501, "transfer_coding_unknown", ""},
		{"a vertical tab before chunked", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: \x0bchunked") + "0\r\n\r\n", 400, "field_value_invalid", ""},
		{"quoted chunked", CRLF("POST / HTTP/1.1", "Host: h", `Transfer-Encoding: "chunked"`) + "0\r\n\r\n", 400, "transfer_encoding_invalid", ""},
		{"chunked in HTTP/1.0", CRLF("POST / HTTP/1.0", "Host: h", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400, "transfer_encoding_in_10", ""},
		{"CHUNKED in capitals", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: CHUNKED") + "0\r\n\r\n", 200, "", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "0\r\n\r\n"},
		{"TRACE with a body", CRLF("TRACE / HTTP/1.1", "Host: h", "Content-Length: 1") + "a", 400, "content_forbidden", ""},
		{"GET with a body", CRLF("GET / HTTP/1.1", "Host: h", "Content-Length: 1") + "a", 200, "", CRLF("GET / HTTP/1.1", "Host: h", "Content-Length: 1") + "a"},

		// Chunks. The head goes to the node at once, so these must break the node's connection, not complete its body.
		{"chunk extension", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "1;a=b\r\nx\r\n0\r\n\r\n", 200, "", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\n\r\n"},
		{"chunk size with zeros", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "0001\r\nx\r\n00\r\n\r\n", 200, "", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\n\r\n"},
		{"chunk size of no digits", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "\r\nx\r\n0\r\n\r\n", 400, "chunk_size_invalid", ""},
		{"chunk size 0x1", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "0x1\r\nx\r\n0\r\n\r\n", 400, "chunk_size_invalid", ""},
		{"negative chunk size", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "-1\r\nx\r\n0\r\n\r\n", 400, "chunk_size_invalid", ""},
		{"chunk size overflow", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "ffffffffffffffff1\r\nx\r\n0\r\n\r\n", 400, "chunk_size_too_large", ""},
		{"space before the chunk size", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + " 1\r\nx\r\n0\r\n\r\n", 400, "chunk_size_invalid", ""},
		{"bare LF behind the chunk size", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "1\nx\r\n0\r\n\r\n", 400, "bare_lf", ""},
		{"bare LF in a chunk extension", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "1;a\nb\r\nx\r\n0\r\n\r\n", 400, "bare_lf", ""},
		{"chunk longer than its size", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "1\r\nxy\r\n0\r\n\r\n", 400, "chunk_end_missing", ""},
		{"chunk ended by a bare LF", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "1\r\nx\n0\r\n\r\n", 400, "chunk_end_missing", ""},
		{"a bad trailer", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "0\r\nX : y\r\n\r\n", 400, "field_name_space", ""},
		{"trailers: what may pass", CRLF("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Trailer: Sum") + "0\r\nSum: 1\r\nContent-Length: 9\r\nHost: evil\r\n\r\n", 200, "",
			CRLF("POST / HTTP/1.1", "Host: h", "Trailer: Sum", "Transfer-Encoding: chunked") + "0\r\nSum: 1\r\n\r\n"},

		// Connection, Upgrade, Expect, TE, Max-Forwards.
		{"named fields are dropped", CRLF("GET / HTTP/1.1", "Host: h", "Connection: X, keep-alive", "X: 1", "Y: 2", "Keep-Alive: 5", "Proxy-Connection: close"), 200, "", CRLF("GET / HTTP/1.1", "Host: h", "Y: 2")},
		{"Connection names Host", CRLF("GET / HTTP/1.1", "Host: h", "Connection: host"), 400, "connection_protected", ""},
		{"Connection names Content-Length", CRLF("POST / HTTP/1.1", "Host: h", "Connection: content-length", "Content-Length: 1") + "a", 400, "connection_protected", ""},
		{"Connection is no list", CRLF("GET / HTTP/1.1", "Host: h", "Connection: a b"), 400, "connection_invalid", ""},
		{"Connection names too many", CRLF("GET / HTTP/1.1", "Host: h", "Connection: a,b,c,d,e,f,g,h,i,j"), 400, "connection_too_many", ""},
		{"h2c upgrade", CRLF("GET / HTTP/1.1", "Host: h", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"), 200, "", CRLF("GET / HTTP/1.1", "Host: h")},
		{"an upgrade that is not allowed", CRLF("GET / HTTP/1.1", "Host: h", "Connection: upgrade", "Upgrade: irc/6.9"), 200, "", CRLF("GET / HTTP/1.1", "Host: h")},
		{"one of two upgrades", CRLF("GET / HTTP/1.1", "Host: h", "Connection: upgrade", "Upgrade: h2c, WebSocket"), 200, "", CRLF("GET / HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: WebSocket")},
		{"Upgrade without Connection", CRLF("GET / HTTP/1.1", "Host: h", "Upgrade: websocket"), 200, "", CRLF("GET / HTTP/1.1", "Host: h")},
		{"an upgrade with a body", CRLF("POST / HTTP/1.1", "Host: h", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 1") + "a", 200, "", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 1") + "a"},
		{"Expect of something else", CRLF("GET / HTTP/1.1", "Host: h", "Expect: 200-ok"), 417, "expect_unknown", ""},
		{"Expect in HTTP/1.0", CRLF("POST / HTTP/1.0", "Host: h", "Expect: 100-continue", "Content-Length: 1") + "a", 200, "", CRLF("POST / HTTP/1.1", "Host: h", "Content-Length: 1") + "a"},
		{"Expect without a body", CRLF("GET / HTTP/1.1", "Host: h", "Expect: 100-continue"), 200, "", CRLF("GET / HTTP/1.1", "Host: h")},
		{"TE: trailers", CRLF("GET / HTTP/1.1", "Host: h", "Connection: TE", "TE: trailers, deflate;q=0.5"), 200, "", CRLF("GET / HTTP/1.1", "Host: h", "TE: trailers", "Connection: TE")},
		{"HTTP/1.0 without a Host", CRLF("GET / HTTP/1.0"), 200, "", CRLF("GET / HTTP/1.1", "Host: NODE")},
		{"Max-Forwards counts down", CRLF("OPTIONS / HTTP/1.1", "Host: h", "Max-Forwards: 3"), 200, "", CRLF("OPTIONS / HTTP/1.1", "Host: h", "Max-Forwards: 2")},
		{"Max-Forwards at its end", CRLF("OPTIONS / HTTP/1.1", "Host: h", "Max-Forwards: 0"), 200, "", ""},
		{"Max-Forwards at its end for TRACE", CRLF("TRACE / HTTP/1.1", "Host: h", "Max-Forwards: 0"), 405, "method_trace", ""},
		{"Max-Forwards binds no GET", CRLF("GET / HTTP/1.1", "Host: h", "Max-Forwards: 0"), 200, "", CRLF("GET / HTTP/1.1", "Host: h", "Max-Forwards: 0")},
		{"claims of an origin", CRLF("GET / HTTP/1.1", "Host: h", "X-Forwarded-For: 6.6.6.6", "X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Forwarded-Port: 1"), 200, "", CRLF("GET / HTTP/1.1", "Host: h")},
		{"proxy credentials", CRLF("GET / HTTP/1.1", "Host: h", "Proxy-Authorization: Basic eA=="), 200, "", CRLF("GET / HTTP/1.1", "Host: h")},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := record(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			p := engine.start(t, func(s *Setup) { s.Listener.Via = ""; s.Listener.Forwarded = roost.ForwardOff }, n.addr)
			_, br := p.Send(c.send)
			method, _, _ := strings.Cut(c.send, " ")
			res, body := ReadAnswer(t, br, method)
			if res.StatusCode != c.status || c.code != "" && !strings.Contains(body, `"`+c.code+`"`) {
				t.Errorf("answered %d %q, want %d %s", res.StatusCode, body, c.status, c.code)
			}
			want := strings.ReplaceAll(c.node, "NODE", n.addr)
			if got := n.bytes(); c.node != "" && got != want {
				t.Errorf("the node got %q, want %q", got, want)
			} else if c.node == "" && strings.Contains(c.send, "chunked") && strings.HasSuffix(got, "0\r\n\r\n") {
				t.Errorf("the node got a complete body: %q", got)
			} else if c.node == "" && !strings.Contains(c.send, "chunked") && got != "" {
				t.Errorf("the node got %q, want nothing", got)
			}
			if r := p.Wait(1); int(r.Status) != c.status || r.Reason != c.code {
				t.Errorf("recorded %d %q", r.Status, r.Reason)
			}
			if c.status >= 400 && c.code != "method_trace" && c.code != "method_connect" {
				Ended(t, br)
			}
		})
	}
}
