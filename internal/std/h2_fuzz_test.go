package std

import (
	"net/http"
	"testing"

	"roost/internal/h1"
)

// FuzzStreamHead: whatever stands in a stream's head, its translation is refused, or is one head with exactly the fields
// that the stream had. Nothing in it can end a line, a head or a message.
func FuzzStreamHead(f *testing.F) {
	f.Fuzz(func(t *testing.T, method, target, host, name, value string, length int64) {
		r := &http.Request{Method: method, RequestURI: target, Host: host, Header: http.Header{name: {value}}, ContentLength: max(length, -1)}
		text, ok := appendRequestHead(nil, r)
		if !ok {
			return
		}
		var p h1.Parser
		var h h1.Head
		p.Limits.Head = 1 << 20
		done, err := p.Parse(text, &h)
		if err != nil {
			return
		}
		s := string(text)
		if !done || h.Size != len(text) || h.MethodName.In(s) != method || h.Target.In(s) != target {
			t.Fatalf("%q: complete %v after %d of %d bytes", text, done, h.Size, len(text))
		}
		want := 2 // Host and the field
		if h.Chunked || h.Length >= 0 {
			want++
		}
		if len(h.Fields) > want || h.Host.In(s) != host && host == h1trim(host) {
			t.Fatalf("%q: %d fields", text, len(h.Fields))
		}
		if id := h.Fields[1].ID; len(h.Fields) == want && (id == h1.ContentLength || id == h1.TransferEncoding) && want == 3 {
			t.Fatalf("%q: the stream's own field frames the message", text)
		}
	})
}

func h1trim(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}
