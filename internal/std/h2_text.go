package std

import (
	"io"
	"net/http"
	"slices"
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
	var names [32]string
	for _, name := range sorted(names[:0], r.Header) {
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
	for _, name := range sorted(names[:0], r.Trailer) {
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

// sorted appends h's names to none, in their order.
func sorted(none []string, h http.Header) []string {
	for name := range h {
		none = append(none, name)
	}
	slices.Sort(none)
	return none
}

// sendBody writes a body of n bytes, or if that is -1 in chunks, with the trailers that there are at its end. The error
// is one of the body; that nobody reads it any more is none.
func sendBody(to io.Writer, body io.Reader, n int64, trailers *http.Header, lend *buffers) error {
	if n == 0 || body == nil || body == http.NoBody {
		return nil
	}
	const framing = 32 // more than a chunk has
	buf, room := lend.get(smallBuffer), lend.get(smallBuffer)
	defer lend.put(buf)
	defer lend.put(room)
	for {
		m, err := body.Read(buf[:smallBuffer-framing])
		out := buf[:m]
		if n < 0 {
			out = room[:0]
			if m > 0 {
				out = append(append(h1.AppendChunk(out, m), buf[:m]...), "\r\n"...)
			}
			if err == io.EOF {
				out = appendTrailers(h1.AppendLastChunk(out), *trailers)
			}
		}
		if len(out) > 0 {
			if _, err := to.Write(out); err != nil {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func appendTrailers(dst []byte, t http.Header) []byte {
	var names [8]string
	for _, name := range sorted(names[:0], t) {
		for _, v := range t[name] {
			if isName(name) && oneLine(v) {
				dst = h1.AppendField(dst, name, v)
			}
		}
	}
	return append(dst, "\r\n"...)
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }

// oneLine tells whether s may stand in a line of a head.
func oneLine(s string) bool {
	return strings.IndexByte(s, '\r') < 0 && strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, 0) < 0
}

// isName tells whether s may stand before a colon; what a name is h1 knows.
func isName(s string) bool { return s != "" && strings.IndexByte(s, ':') < 0 && oneLine(s) }
