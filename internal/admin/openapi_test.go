package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"roost"
	"roost/internal/api"
)

func TestTheDocumentIsAsInTheGoldenFile(t *testing.T) {
	golden(t, "testdata/openapi.json", string(New(options()).document)+"\n")
	if !bytes.Equal(New(Options{}).document, New(options()).document) {
		t.Error("the document depends on what a balancer offers")
	}
}

// good are requests that are answered with 200, by operation. Every operation of the document has one.
var good = map[string]struct{ target, body string }{
	"GET /":                                   {"/", ""},
	"GET /healthz":                            {"/healthz", ""},
	"GET /readyz":                             {"/readyz", ""},
	"GET /metrics":                            {"/metrics", ""},
	"GET /api/v1/openapi.json":                {"/api/v1/openapi.json", ""},
	"GET /api/v1/status":                      {"/api/v1/status", ""},
	"GET /api/v1/nodes":                       {"/api/v1/nodes", ""},
	"GET /api/v1/pools":                       {"/api/v1/pools", ""},
	"GET /api/v1/pools/{pool}":                {"/api/v1/pools/fn", ""},
	"PATCH /api/v1/pools/{pool}":              {"/api/v1/pools/fn", `{"homes":2}`},
	"GET /api/v1/pools/{pool}/nodes":          {"/api/v1/pools/web/nodes", ""}, // none
	"POST /api/v1/pools/{pool}/nodes":         {"/api/v1/pools/fn/nodes", `{"address":"10.0.0.9:80","name":"n9","weight":0.5,"zone":"b"}`},
	"GET /api/v1/pools/{pool}/nodes/{node}":   {"/api/v1/pools/fn/nodes/10.0.0.1:80", ""},
	"PATCH /api/v1/pools/{pool}/nodes/{node}": {"/api/v1/pools/fn/nodes/n2", `{"weight":null}`},

	"DELETE /api/v1/pools/{pool}/nodes/{node}":       {"/api/v1/pools/fn/nodes/n2", ""},
	"POST /api/v1/pools/{pool}/nodes/{node}/drain":   {"/api/v1/pools/fn/nodes/n2/drain", `{"deadline":"10m","force":true}`},
	"POST /api/v1/pools/{pool}/nodes/{node}/down":    {"/api/v1/pools/fn/nodes/n2/down", ``},
	"POST /api/v1/pools/{pool}/nodes/{node}/undrain": {"/api/v1/pools/fn/nodes/n2/undrain", ""},
	"GET /api/v1/pools/{pool}/keys/where":            {"/api/v1/pools/fn/keys/where?key=a%2Fb", ""},
	"GET /api/v1/pools/{pool}/pins":                  {"/api/v1/pools/fn/pins", ""},
	"PUT /api/v1/pools/{pool}/pins":                  {"/api/v1/pools/fn/pins", `{"key":"a/b","nodes":["n2"]}`},
	"DELETE /api/v1/pools/{pool}/pins":               {"/api/v1/pools/fn/pins?key=a%2Fb", ""},
	"GET /api/v1/pools/{pool}/table":                 {"/api/v1/pools/fn/table?rows=true", ""},
	"GET /api/v1/config":                             {"/api/v1/config", ""},
	"POST /api/v1/reload":                            {"/api/v1/reload?dry_run=true", ""},
	"POST /api/v1/explain":                           {"/api/v1/explain", `{"url":"/r/app/hello","fields":["X-Org: acme"]}`},
	"GET /api/v1/events":                             {"/api/v1/events?follow=false", ""},
	"POST /api/v1/upgrade":                           {"/api/v1/upgrade", ""},
}

// document is the API's, as a validator sees it.
type document struct {
	t     *testing.T
	whole map[string]any
	c     *jsonschema.Compiler
}

func readDocument(t *testing.T) *document {
	t.Helper()
	w := call(New(options()), "GET", "/api/v1/openapi.json", "")
	whole, err := jsonschema.UnmarshalJSON(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("mem:///api.json", whole); err != nil {
		t.Fatal(err)
	}
	return &document{t, whole.(map[string]any), c}
}

// at is what stands at a path of names, references followed, and the path where that is.
func (d *document) at(names ...string) (m map[string]any, path []string) {
	m = d.whole
	for _, name := range names {
		m, _ = m[name].(map[string]any)
		path = append(path, name)
		if ref, ok := m["$ref"].(string); ok {
			m, path = d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
	}
	return m, path
}

// below is what stands at a path of names within an operation, METHOD path.
func (d *document) below(op string, names ...string) (m map[string]any, path []string) {
	method, target, _ := strings.Cut(op, " ")
	return d.at(append([]string{"paths", target, strings.ToLower(method)}, names...)...)
}

// operations are all of the document.
func (d *document) operations() (all []string) {
	paths, _ := d.at("paths")
	for path := range paths {
		methods, _ := d.at("paths", path)
		for method := range methods {
			all = append(all, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// check validates a JSON text against the schema at a path.
func (d *document) check(text string, path []string) {
	d.t.Helper()
	pointer := ""
	for _, name := range path {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name)
	}
	schema, err := d.c.Compile("mem:///api.json#" + pointer)
	if err != nil {
		d.t.Fatalf("%s: %v", pointer, err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		d.t.Errorf("%s: %v: %s", pointer, err, text)
	}
}

// answered checks an answer against what the document says of the operation.
func (d *document) answered(op string, w *httptest.ResponseRecorder) {
	d.t.Helper()
	status := strconv.Itoa(w.Code)
	response, _ := d.below(op, "responses", status)
	if response == nil {
		d.t.Errorf("%s answers %s, which is not in the document: %s", op, status, w.Body)
		return
	}
	headers, _ := response["headers"].(map[string]any)
	for name := range headers {
		if w.Header().Get(name) == "" {
			d.t.Errorf("%s: %s has no %s", op, status, name)
		}
	}
	content, _ := response["content"].(map[string]any)
	if len(content) != 1 {
		d.t.Errorf("%s: %s has %d kinds of content in the document", op, status, len(content))
	}
	kind, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type"))
	for documented := range content {
		if want, _, _ := mime.ParseMediaType(documented); kind != want {
			d.t.Errorf("%s: %s is %q, not %q", op, status, kind, want)
		}
		if strings.HasSuffix(documented, "json") {
			_, path := d.below(op, "responses", status, "content", documented, "schema")
			d.check(w.Body.String(), path)
		}
	}
	if kind == problemType {
		if code := problem(d.t, w.Code, w.Header(), w.Body.String()).Code; !strings.Contains(fmt.Sprint(response["description"]), code) {
			d.t.Errorf("%s: %s has the code %s, which is not in the document", op, status, code)
		}
	}
}

func TestEveryRouteIsInTheDocumentAndTested(t *testing.T) {
	d := readDocument(t)
	documented := d.operations()
	for pattern := range New(options()).operations {
		if op := strings.TrimSuffix(pattern, "{$}"); !slices.Contains(documented, op) {
			t.Errorf("%s is not in the document", op)
		}
	}
	for _, op := range documented {
		if _, ok := good[op]; !ok {
			t.Errorf("%s is not tested", op)
		}
	}
}

// Every operation is made to answer with every status that the document has for it.
func TestEveryAnswerIsAsTheDocumentSays(t *testing.T) {
	d, st := readDocument(t), newStage()
	for _, op := range d.operations() {
		x, ok := good[op]
		if !ok {
			continue
		}
		method, _, _ := strings.Cut(op, " ")
		if x.body != "" {
			_, path := d.below(op, "requestBody", "content", jsonType, "schema")
			d.check(x.body, path)
		}
		statuses, _ := d.below(op, "responses")
		for status := range statuses {
			if op == "GET /metrics" && status == "503" {
				continue // promhttp's own, when too many scrape at once
			}
			w := st.provoke(method, x.target, x.body, status)
			if strconv.Itoa(w.Code) != status {
				t.Errorf("%s cannot be made to answer %s: %d: %s", op, status, w.Code, w.Body)
			}
			d.answered(op, w)
		}
	}
}

// stage is Servers that are well, broken, busy, and without anything to offer.
type stage struct {
	fake                     *fake
	well, broken, busy, bare *Server
}

func newStage() stage {
	f := new(fake)
	st := stage{fake: f, well: New(f.options()), bare: New(Options{})}
	o := f.options()
	o.Settings = func() roost.Admin { panic("a bug") }
	st.broken = New(o)
	o = f.options()
	o.Ready = func() error { return errors.New("draining") }
	st.busy = New(o)
	for range maxStreams {
		st.busy.streams <- struct{}{}
	}
	return st
}

// provoke asks for an answer with a status.
func (st stage) provoke(method, target, body, status string) *httptest.ResponseRecorder {
	st.fake.refuse = nil
	with := "?"
	if strings.Contains(target, "?") {
		with = "&"
	}
	switch status {
	case "400":
		target += with + "a;b"
	case "401":
		return callBy(st.well, entrance{token: true}, method, target+with+"verbose=1", body)
	case "403":
		return call(st.well, method, target, body, "Origin", "http://evil.example")
	case "404":
		st.fake.refuse = &roost.ChangeError{Code: roost.CodeNoPool, Text: "there is no such pool"}
		target = strings.Replace(target, "/pools/", "/pools/no", 1)
	case "408":
		r := httptest.NewRequest(method, target, iotest.ErrReader(os.ErrDeadlineExceeded))
		r.Host = "localhost"
		w := httptest.NewRecorder()
		st.well.answer(w, r, entrance{socket: true})
		return w
	case "409":
		st.fake.refuse = &roost.ChangeError{Code: roost.CodeLastNode, Text: "it is the last one"}
		if target == "/api/v1/upgrade" {
			st.fake.refuse = errors.New("the new binary did not start")
		}
	case "412":
		st.fake.refuse = &roost.ChangeError{Code: roost.CodeRevMoved, Text: "somebody was faster"}
	case "413":
		body = strings.Repeat("x", maxBody+1)
	case "415":
		return call(st.well, method, target, "x", "Content-Type", "text/plain")
	case "422":
		target += with + "what=this"
	case "500":
		return call(st.broken, method, target, body)
	case "501":
		return call(st.bare, method, target, body)
	case "503":
		st.fake.refuse = context.Canceled
		return call(st.busy, method, target, body)
	}
	return call(st.well, method, target, body)
}

func TestAnswersWithoutContentsAreAsTheDocumentSaysToo(t *testing.T) {
	d := readDocument(t)
	o := options()
	o.Status = func() roost.Status {
		return roost.Status{Pools: []roost.PoolStatus{{ID: "fn", Nodes: []roost.NodeStatus{{ID: "n2"}}}}}
	}
	o.Key = func(roost.PoolID, string) (api.Key, error) { return api.Key{}, nil }
	o.Table = func(roost.PoolID, bool) (api.Table, error) { return api.Table{}, nil }
	o.Config = func() api.Config { return api.Config{} }
	o.Explain = func(api.Request) (api.Explanation, error) { return api.Explanation{}, nil }
	s := New(o)
	for op, x := range good {
		method, _, _ := strings.Cut(op, " ")
		if op == "GET /api/v1/pools/{pool}/nodes/{node}" {
			x.target = "/api/v1/pools/fn/nodes/n2"
		}
		x.target = strings.Replace(x.target, "/web/", "/fn/", 1)
		w := call(s, method, x.target, x.body)
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d: %s", op, w.Code, w.Body)
		}
		if d.answered(op, w); strings.Contains(w.Body.String(), "null") && op != "GET /api/v1/openapi.json" {
			t.Errorf("%s: an empty list is null: %s", op, w.Body)
		}
	}
	o.Status = func() roost.Status { return roost.Status{} }
	for _, target := range []string{"/api/v1/status", "/api/v1/pools", "/api/v1/nodes"} {
		w := call(New(o), "GET", target, "")
		if d.answered("GET "+target, w); strings.Contains(w.Body.String(), "null") {
			t.Errorf("%s: an empty list is null: %s", target, w.Body)
		}
	}
}

func TestEventsAreAsTheDocumentSays(t *testing.T) {
	d := readDocument(t)
	f := new(fake)
	o := f.options()
	o.Log.Warn("a node is out", "node", "n2", "error", errors.New("refused"))
	body := call(New(o), "GET", "/api/v1/events?follow=false", "", "Last-Event-ID", "1").Body
	data := 0
	for line, err := body.ReadString('\n'); err != io.EOF; line, err = body.ReadString('\n') {
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			data++
			d.check(text, []string{"components", "schemas", "Event"})
		}
	}
	if data != 2 {
		t.Errorf("%d events, want a gap and a line", data)
	}
}
