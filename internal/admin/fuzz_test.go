package admin

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"roost"
	"roost/internal/api"
)

// FuzzRequest: whatever is asked, a Server by itself never panics, never answers 5xx, and refuses with problem details.
func FuzzRequest(f *testing.F) {
	for op, x := range good {
		method, _, _ := strings.Cut(op, " ")
		f.Add(method, x.target, jsonType, `"42"`, x.body)
	}
	f.Add("PATCH", "/api/v1/pools/fn/nodes/n2", "application/json;charset=utf-8", `W/"1"`, `{"weight":1e999,"weight":[[[{"a":{}}]]]}`)
	f.Add("POST", "/api/v1/pools/%2F/nodes/%2E%2E/drain?x=%zz&y;z", "text/plain", `"18446744073709551616"`, `{"Deadline":"1h"}`)
	f.Add("GET", "//api/v1/../v1/status#x", "", "", "\xff")
	o := options()
	o.Change = func(context.Context, roost.Change, *uint64) (api.Changed, error) { return api.Changed{}, nil } // remembers nothing
	s := New(o)
	f.Fuzz(func(t *testing.T, method, target, kind, match, body string) {
		head := method + " " + target + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + kind + "\r\nIf-Match: " + match + "\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
		if err != nil {
			t.Skip() // net/http refuses it
		}
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		if r.URL.Path == "/api/v1/events" {
			r.URL.RawQuery = "follow=false" // or it would not end
		}
		w := httptest.NewRecorder()
		s.answer(w, r, entrance{socket: true})
		switch {
		case w.Code >= 500 || w.Code < 200 || w.Code >= 300 && w.Code < 400:
			t.Errorf("%d: %s", w.Code, w.Body)
		case w.Code >= 400:
			problem(t, w.Code, w.Header(), w.Body.String())
		}
	})
}
