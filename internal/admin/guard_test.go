package admin

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"roost"
	"roost/internal/api"
)

func TestBadRequestsGetProblemDetails(t *testing.T) {
	f := new(fake)
	o := f.options()
	o.Metrics = nil
	s := New(o)
	const node = "/api/v1/pools/fn/nodes/n2"
	for _, x := range []struct {
		method, target, body string
		fields               []string
		status               int
		code, detail         string
	}{
		{"GET", "/none", "", nil, 404, api.CodeNoRoute, "openapi.json"},
		{"GET", "/api/v1/status/", "", nil, 404, api.CodeNoRoute, ""},
		{"GET", "/api/v1/x/../status", "", nil, 404, api.CodeNoRoute, ""},
		{"GET", "/api/v1//status", "", nil, 404, api.CodeNoRoute, ""},
		{"GET", "/api/v2/status", "", nil, 404, api.CodeNoRoute, ""},
		{"GET", "/metrics", "", nil, 501, api.CodeNotOffered, ""}, // nil Metrics
		{"GET", "/status", "", nil, 404, api.CodeNoRoute, ""},
		{"POST", "/api/v1/status", "{}", nil, 405, api.CodeMethod, "takes GET, HEAD, not POST"},
		{"DELETE", "/", "", nil, 405, api.CodeMethod, "GET, HEAD"},
		{"OPTIONS", "/api/v1/status", "", nil, 405, api.CodeMethod, "GET, HEAD"},
		{"PUT", node, "", nil, 405, api.CodeMethod, "GET, HEAD, PATCH, DELETE"},
		{"GET", "/api/v1/status", strings.Repeat("x", maxBody+1), nil, 413, api.CodeTooLarge, "65536"},
		{"GET", "/api/v1/status", "{}", nil, 400, api.CodeBadBody, "takes no body"},
		{"POST", node + "/undrain", "{}", nil, 400, api.CodeBadBody, "takes no body"},
		{"GET", "/api/v1/status", "", []string{"Origin", "http://evil.example"}, 403, api.CodeOriginForeign, "origin"},
		{"GET", "/api/v1/status", "", []string{"Origin", "null"}, 403, api.CodeOriginForeign, "origin"},
		{"GET", "/api/v1/status", "", []string{"Origin", "localhost"}, 403, api.CodeOriginForeign, "origin"},
		{"GET", "/healthz", "", []string{"Origin", "http://localhost:7071"}, 403, api.CodeOriginForeign, "origin"},

		{"GET", "/api/v1/pools/fn/table?rows=maybe", "", nil, 422, api.CodeInvalid, "query.rows"},
		{"GET", "/api/v1/pools/fn/table?row=true", "", nil, 422, api.CodeInvalid, "query.row"},
		{"GET", "/api/v1/pools/fn/table?rows=true&rows=false", "", nil, 400, api.CodeBadRequest, "2 times"},
		{"GET", "/api/v1/pools/fn/table?a;b", "", nil, 400, api.CodeBadRequest, "query"},
		{"POST", "/api/v1/reload?dry_run", "", nil, 400, api.CodeBadRequest, `"dry_run" in the query has no value`},
		{"GET", "/api/v1/pools/fn/keys/where", "", nil, 422, api.CodeInvalid, "query.key"},
		{"GET", "/api/v1/events", "", []string{"Last-Event-ID", "x"}, 422, api.CodeInvalid, "Last-Event-ID"},

		{"PATCH", node, "", nil, 400, api.CodeBadBody, "body is required"},
		{"PATCH", node, "{", nil, 400, api.CodeBadBody, "body: "},
		{"PATCH", node, "{\"weight\":1,\"\xff\":2}", nil, 400, api.CodeBadBody, "not UTF-8"},
		{"PUT", "/api/v1/pools/fn/pins", "{\"key\":\"a\xff\",\"homes\":1}", nil, 400, api.CodeBadBody, "not UTF-8"},
		{"PATCH", node, `{"weight":1e400}`, nil, 400, api.CodeBadBody, "body: number 1e400 does not fit"},
		{"PATCH", node, `{"weight":1} x`, nil, 400, api.CodeBadBody, "body: "},
		{"PATCH", node, `{"weight":1}{"weight":2}`, nil, 400, api.CodeBadBody, "body: "},
		{"PATCH", node, `{"weight":1,"weight":2}`, nil, 400, api.CodeBadBody, `"weight" stands twice`},
		{"PATCH", node, `{"Weight":1}`, nil, 422, api.CodeInvalid, `"Weight"; case matters`},
		{"PATCH", node, `{"weight":1,"x":2}`, nil, 422, api.CodeInvalid, "body.x: unexpected property"},
		{"PATCH", node, `{}`, nil, 422, api.CodeInvalid, "weight"},
		{"PATCH", node, `null`, nil, 422, api.CodeInvalid, "expected object"},
		{"PATCH", node, `[]`, nil, 422, api.CodeInvalid, "expected object"},
		{"PATCH", node, `{"weight":"1"}`, nil, 422, api.CodeInvalid, "body.weight: expected number"},
		{"PATCH", node, `{"weight":0}`, nil, 422, api.CodeInvalid, "body.weight"},
		{"PATCH", node, `{"weight":-1}`, nil, 422, api.CodeInvalid, "body.weight"},
		{"PATCH", node, `{"weight":1e9}`, nil, 422, api.CodeInvalid, "body.weight"},
		{"PATCH", node, `{"weight":1e999}`, nil, 400, api.CodeBadBody, "body"},
		{"PATCH", "/api/v1/pools/fn", `{"homes":300}`, nil, 422, api.CodeInvalid, "body.homes"},
		{"PATCH", "/api/v1/pools/fn", `{"homes":1.5}`, nil, 422, api.CodeInvalid, "body.homes"},
		{"PATCH", "/api/v1/pools/fn", `{"homes":0}`, nil, 422, api.CodeInvalid, "body.homes"},
		{"PATCH", "/api/v1/pools/fn", `{"homes":null}`, []string{"If-Match", "43"}, 400, api.CodeBadRequest, "If-Match"},
		{"PATCH", "/api/v1/pools/fn", `{"homes":null}`, []string{"If-Match", `"x"`}, 400, api.CodeBadRequest, "If-Match"},
		{"PATCH", "/api/v1/pools/fn", `{"homes":null}`, []string{"If-Match", `W/"43"`}, 412, roost.CodeRevMoved, "weak"},
		{"PATCH", node, `{"weight":1}`, []string{"Content-Type", "text/plain"}, 415, api.CodeMediaType, `"text/plain"`},
		{"PATCH", node, `{"weight":1}`, []string{"Content-Type", ""}, 415, api.CodeMediaType, "application/json"},
		{"PATCH", node, `{"weight":1}`, []string{"Content-Type", "application/json; charset=latin1"}, 415, api.CodeMediaType, "latin1"},
		{"PATCH", node, `{"weight":1}`, []string{"Content-Type", "application/x+json"}, 415, api.CodeMediaType, "x+json"},
		{"POST", node + "/drain", `{"deadline":"soon"}`, nil, 422, api.CodeInvalid, `"soon" is not a duration`},
		{"POST", node + "/drain", `{"deadline":"-1s"}`, nil, 422, api.CodeInvalid, "above zero"},
		{"POST", node + "/drain", `{"force":"yes"}`, nil, 422, api.CodeInvalid, "body.force"},
		{"POST", "/api/v1/pools/fn/nodes", `{"address":""}`, nil, 422, api.CodeInvalid, "body.address"},
		{"POST", "/api/v1/pools/fn/nodes", `{"address":"10.0.0.9"}`, nil, 422, api.CodeInvalid, "it has no port"},
		{"POST", "/api/v1/pools/fn/nodes", `{"address":"a=10.0.0.9:80"}`, nil, 422, api.CodeInvalid, "fields of their own"},
		{"POST", "/api/v1/pools/fn/nodes", `{"address":"10.0.0.9:80*2"}`, nil, 422, api.CodeInvalid, "fields of their own"},
		{"POST", "/api/v1/pools/fn/nodes", `{"address":"unix:/a","name":"b:c"}`, nil, 422, api.CodeInvalid, ""},
		{"PUT", "/api/v1/pools/fn/pins", `{"key":"k","nodes":[1]}`, nil, 422, api.CodeInvalid, "body.nodes[0]"},
	} {
		w := call(s, x.method, x.target, x.body, x.fields...)
		p := problem(t, w.Code, w.Header(), w.Body.String())
		if w.Code != x.status || p.Code != x.code || !strings.Contains(p.Detail, x.detail) {
			t.Errorf("%s %s %.60s %v: %d: %s", x.method, x.target, x.body, x.fields, w.Code, w.Body)
		}
		if allow := w.Header().Get("Allow"); (x.status == 405) != (allow != "" && strings.Contains(p.Detail, allow)) {
			t.Errorf("%s %s: %d with Allow: %q", x.method, x.target, w.Code, allow)
		}
	}
	if f.changes != nil {
		t.Errorf("bad requests changed something: %v", f.changes)
	}
}

func TestABodyWithManyMistakesIsAnsweredInShort(t *testing.T) {
	w := call(New(options()), "PATCH", "/api/v1/pools/fn/nodes/n2", `{"weight":1,`+manyFields(4000)+`}`)
	p := problem(t, w.Code, w.Header(), w.Body.String())
	if w.Code != 422 || len(p.Errors) != maxMistakes || !strings.HasSuffix(p.Detail, "; and 3980 more") {
		t.Errorf("%d: %d mistakes: %.200s", w.Code, len(p.Errors), p.Detail)
	}
}

func manyFields(n int) string {
	var fields []string
	for i := range n {
		fields = append(fields, fmt.Sprintf(`"x%d":1`, i))
	}
	return strings.Join(fields, ",")
}

func TestOnlyNamesThatAWebPageCannotTakeAreAnswered(t *testing.T) {
	s := New(options())
	for host, want := range map[string]bool{
		"":                       true, // HTTP/1.0: no browser
		"127.0.0.1":              true,
		"127.0.0.1:7070":         true,
		"[::1]:7070":             true,
		"[::1]":                  true,
		"localhost":              true,
		"LocalHost:7070":         true,
		"admin.example:7070":     true, // its address
		"admin.example":          true,
		"balancer.example":       true, // in its names
		"10.1.2.3:7070":          true, // an address: nobody's name
		"evil.example":           false,
		"evil.example:7070":      false,
		"localhost.evil.example": false,
		"127.0.0.1.nip.example":  false,
		"localhost:7070:7070":    false,
		"x localhost":            false,
	} {
		for _, in := range []entrance{{}, {token: true}, {socket: true}} {
			r := httptest.NewRequest("GET", "/healthz", nil)
			r.Host = host
			w := httptest.NewRecorder()
			s.answer(w, r, in)
			if got := w.Code == 200; got != want {
				t.Errorf("%q: %d", host, w.Code)
			}
			if w.Code != 200 && (w.Code != 403 || problem(t, w.Code, w.Header(), w.Body.String()).Code != api.CodeHostUnknown) {
				t.Errorf("%q: %d: %s", host, w.Code, w.Body)
			}
		}
	}
	if known("evil.example", roost.Admin{}) || known(".", roost.Admin{}) {
		t.Error("without names of ours any is answered")
	}
}

func TestPagesOfTheSameOriginAreAnswered(t *testing.T) {
	s := New(options())
	for _, x := range []struct {
		in     entrance
		origin string
		status int
	}{
		{entrance{}, "http://localhost", 200},
		{entrance{}, "https://localhost", 403},
		{entrance{secure: true}, "https://localhost", 200},
		{entrance{secure: true}, "http://localhost", 403},
		{entrance{socket: true}, "https://localhost", 200}, // something in front speaks TLS
		{entrance{socket: true}, "http://localhost", 200},
	} {
		if w := callBy(s, x.in, "GET", "/api/v1/status", "", "Origin", x.origin); w.Code != x.status {
			t.Errorf("%+v, %s: %d", x.in, x.origin, w.Code)
		}
	}
}

func TestWithoutTheTokenOnlyHealthIsTold(t *testing.T) {
	o := options()
	s := New(o)
	in := entrance{token: true}
	for target, want := range map[string]int{
		"/healthz": 200, "/%68ealthz": 200, "/readyz": 200, "/readyz?verbose": 401, "/readyz?verbos%65=1": 401, "/": 401, "/metrics": 401,
		"/none": 401, "/api/v1/openapi.json": 401, "/api/v1/status": 401, "/api/v1/events": 401, "/api/v1/config": 401,
	} {
		for _, authorization := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + secret, secret, "Bearer " + secret + "x", "Bearer x" + secret} {
			w := callBy(s, in, "GET", target, "", "Authorization", authorization)
			if w.Code != want {
				t.Errorf("GET %s with %q: %d", target, authorization, w.Code)
			}
			if w.Header().Get("Connection") != "close" {
				t.Errorf("GET %s with %q keeps its connection", target, authorization)
			}
			if w.Code != 401 {
				continue
			}
			if p := problem(t, w.Code, w.Header(), w.Body.String()); p.Code != api.CodeUnauthorized || w.Header().Get("WWW-Authenticate") != `Bearer realm="roost"` {
				t.Errorf("GET %s: %v: %s", target, w.Header(), w.Body)
			}
		}
	}
	for _, authorization := range []string{"Bearer " + secret, "bearer " + secret, "BEARER  " + secret} {
		if w := callBy(s, in, "GET", "/readyz?verbose", "", "Authorization", authorization); w.Code != 200 || w.Header().Get("Connection") != "" {
			t.Errorf("%q: %d %v", authorization, w.Code, w.Header())
		}
	}
	r := httptest.NewRequest("GET", "http://localhost/api/v1/status", nil)
	r.Header["Authorization"] = []string{"Bearer " + secret, "Bearer wrong"}
	w := httptest.NewRecorder()
	if s.answer(w, r, in); w.Code != 401 {
		t.Errorf("two tokens: %d", w.Code)
	}
	o.Settings = func() roost.Admin { return roost.Admin{OpenMetrics: true} }
	if w := callBy(New(o), in, "GET", "/metrics", ""); w.Code != 200 {
		t.Errorf("open metrics: %d", w.Code)
	}
	o.Token = nil
	for _, authorization := range []string{"", "Bearer " + secret, "Bearer "} {
		if w := callBy(New(o), in, "GET", "/api/v1/status", "", "Authorization", authorization); w.Code != 401 {
			t.Errorf("where there is no token %q opens: %d", authorization, w.Code)
		}
	}
}

func TestGuessingDoesNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(fake)
		s := New(f.options())
		for range 1000 {
			callBy(s, entrance{token: true}, "GET", "/api/v1/status", "", "Authorization", "Bearer guess-one")
		}
		time.Sleep(refusalsEvery)
		callBy(s, entrance{token: true}, "GET", "/api/v1/status", "")
		lines := slices.Collect(strings.Lines(f.log.String()))
		if len(lines) != 2 || !strings.Contains(lines[0], `reason="wrong token" requests=1`) ||
			!strings.Contains(lines[1], `reason="no token" requests=1000`) || strings.Contains(f.log.String(), "guess-one") {
			t.Errorf("the log: %s", f.log.String())
		}
	})
}
