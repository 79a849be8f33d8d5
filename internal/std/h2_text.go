package std

import (
	"net/http"
	"strconv"
	"strings"

	"roost/internal/h1"
)

// appendRequestHead appends a stream's head in HTTP/1.1. It only translates: whether the request is valid is for h1 to
// say. What could end a line early is not translated at all; net/http lets none of it pass.
func appendRequestHead(dst []byte, r *http.Request) ([]byte, bool) {
	for _, part := range []string{r.Method, r.RequestURI, r.Host} {
		if !oneLine(part) {
			return dst, false
		}
	}
	if r.Method != http.MethodConnect && r.RequestURI != "*" && (r.RequestURI == "" || r.RequestURI[0] != '/') {
		return dst, false // RFC 9113, 8.3.1
	}
	dst = append(append(dst, r.Method...), ' ')
	dst = append(append(dst, r.RequestURI...), " HTTP/1.1\r\n"...)
	dst = h1.AppendField(dst, "Host", r.Host)
	for _, name := range sorted(r.Header) {
		if !isName(name) {
			return dst, false
		}
		for _, v := range r.Header[name] {
			switch {
			case !oneLine(v), name == "Host" && v != r.Host:
				return dst, false
			case name == "Host", name == "Content-Length", name == "Expect":
				// Expect is answered by net/http, when the body is first read.
			default:
				dst = h1.AppendField(dst, name, v)
			}
		}
	}
	for _, name := range sorted(r.Trailer) {
		dst = h1.AppendField(dst, "Trailer", name)
	}
	return append(appendFraming(dst, lengthOf(r), r.Method == "POST" || r.Method == "PUT" || r.Method == "PATCH"), "\r\n"...), true
}

// lengthOf is the length of a stream's body in HTTP/1.1: -1, which is unknown, also with trailers, because only chunks
// can have them.
func lengthOf(r *http.Request) int64 {
	if len(r.Trailer) > 0 {
		return -1
	}
	return r.ContentLength
}

// appendFraming appends the framing for a body of n bytes, -1 if unknown; an empty one is told only with zero.
func appendFraming(dst []byte, n int64, zero bool) []byte {
	switch {
	case n < 0:
		return append(dst, "Transfer-Encoding: chunked\r\n"...)
	case n > 0 || zero:
		return h1.AppendField(dst, "Content-Length", formatInt(n))
	}
	return dst
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }

// oneLine tells whether s may stand in a line of a head.
func oneLine(s string) bool {
	return strings.IndexByte(s, '\r') < 0 && strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, 0) < 0
}

// isName tells whether s may stand before a colon; what a name is h1 knows.
func isName(s string) bool { return s != "" && strings.IndexByte(s, ':') < 0 && oneLine(s) }
