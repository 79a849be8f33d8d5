package fnlb

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestEndpointsAreRewrittenAndNothingElse(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{"annotations":{"fnproject.io/fn/invokeEndpoint":"http://10.0.0.1:8080/invoke/01D"}}`,
			`{"annotations":{"fnproject.io/fn/invokeEndpoint":"https://lb:81/invoke/01D"}}`},
		{`{"annotations":{"fnproject.io/trigger/httpEndpoint" : "https:\/\/n1\/t\/a\/b"}}`,
			`{"annotations":{"fnproject.io/trigger/httpEndpoint" : "https://lb:81\/t\/a\/b"}}`},
		{`{"name":"\"fnproject.io/fn/invokeEndpoint\":\"http://n1/x\""}`, `{"name":"\"fnproject.io/fn/invokeEndpoint\":\"http://n1/x\""}`},
		{`{"image":"http://n1/x","other":"fnproject.io/fn/invokeEndpoint"}`, `{"image":"http://n1/x","other":"fnproject.io/fn/invokeEndpoint"}`},
		{`{"items":[{"a":{"fnproject.io/fn/invokeEndpoint":"http://[::1]:8080/invoke/1"}},{"a":{"fnproject.io/fn/invokeEndpoint":"http://n2/invoke/2"}}]}`,
			`{"items":[{"a":{"fnproject.io/fn/invokeEndpoint":"https://lb:81/invoke/1"}},{"a":{"fnproject.io/fn/invokeEndpoint":"https://lb:81/invoke/2"}}]}`},
		{``, ``},
	}
	for _, tt := range tests {
		if got := string(rewrite([]byte(tt.in), "https", "lb:81")); got != tt.want {
			t.Errorf("%s\nbecame %s\nwant   %s", tt.in, got, tt.want)
		}
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add([]byte(`{"annotations":{"fnproject.io/fn/invokeEndpoint":"http://10.0.0.1:8080/invoke/01D"}}`))
	f.Add([]byte(`{"a":"\"fnproject.io/fn/invokeEndpoint\":\"http://n1/x\""}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got := rewrite(body, "http", "lb:81")
		if json.Valid(body) != json.Valid(got) {
			t.Errorf("%q became %q", body, got)
		}
	})
}

// inner stands for the balancer's inner listener.
func inner(t *testing.T, h http.HandlerFunc) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Listener.Close()
	srv.Listener = ln
	srv.Start()
	t.Cleanup(srv.Close)
	return path
}

func TestAnAnswerNamesTheHostThatWasAsked(t *testing.T) {
	const body = `{"items":[{"annotations":{"fnproject.io/fn/invokeEndpoint":"http://n1:8080/invoke/7"}}]}`
	tests := []struct {
		name, host, proto string
		method, kind      string
		status            int
		want              string
	}{
		{"plain", "lb.example:8081", "http", "GET", "application/json; charset=utf-8", 200, "http://lb.example:8081/invoke/7"},
		{"behind TLS", "lb.example", "https", "GET", "application/json", 200, "https://lb.example/invoke/7"},
		{"an error", "lb.example", "http", "GET", "application/json", 500, "http://n1:8080/invoke/7"},
		{"no JSON", "lb.example", "http", "GET", "text/html", 200, "http://n1:8080/invoke/7"},
		{"a host that is none", `lb"},`, "http", "GET", "application/json", 200, "http://n1:8080/invoke/7"},
		{"HEAD", "lb.example", "http", "HEAD", "application/json", 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := inner(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Host != tt.host && tt.host != `lb"},` || r.URL.Path != "/v2/fns" || r.URL.RawQuery != "app_id=1&name=x" {
					t.Errorf("asked %s %s", r.Host, r.URL)
				}
				w.Header().Set("Content-Type", tt.kind)
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				w.WriteHeader(tt.status)
				if r.Method != "HEAD" {
					w.Write([]byte(body))
				}
			})
			r := httptest.NewRequest(tt.method, "/v2/fns?app_id=1&name=x", nil)
			r.Host = tt.host
			if tt.host == `lb"},` {
				r.Host = "x'y" // what net/http sends on, and what no JSON should hold
			}
			r.Header.Set("X-Forwarded-Proto", tt.proto)
			w := httptest.NewRecorder()
			Rewriter(path, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
			got := w.Body.String()
			if w.Code != tt.status || tt.want != "" && !strings.Contains(got, `"`+tt.want+`"`) || tt.want == "" && got != "" {
				t.Errorf("%d %s", w.Code, got)
			}
			if n := w.Header().Get("Content-Length"); tt.method == "GET" && n != fmt.Sprint(len(got)) {
				t.Errorf("Content-Length %s of %d bytes", n, len(got))
			}
		})
	}
}

func TestAnAnswerTooLongToHoldPassesAsItIs(t *testing.T) {
	body := `{"fnproject.io/fn/invokeEndpoint":"http://n1/x"}` + strings.Repeat(" ", maxAnswer)
	path := inner(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(body))
	})
	w := httptest.NewRecorder()
	Rewriter(path, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "http://lb/v2/fns", nil))
	if w.Body.String() != body {
		t.Errorf("%d bytes of %d came", w.Body.Len(), len(body))
	}
}

func TestWithoutAnyNodeTheAnswerIsJSON(t *testing.T) {
	w := httptest.NewRecorder()
	Rewriter(filepath.Join(t.TempDir(), "s"), slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "http://lb/v2/fns", nil))
	if w.Code != 502 || !json.Valid(w.Body.Bytes()) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
