package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"roost"
	"roost/internal/api"
)

// root is where the API begins. A change that breaks clients begins another one.
const root = "/api/v1"

// operation is what a route needs to be told before its handler runs.
type operation struct {
	page       bool // not of the API: its query is its own
	body       bool // it takes one
	socketOnly bool
	free       func(r *http.Request, settings roost.Admin) bool // whether no token is needed; nil: one is
}

func (o operation) open(r *http.Request, settings roost.Admin) bool {
	return o.free != nil && o.free(r, settings)
}

// New returns a Server that shows and changes what o says.
func New(o Options) *Server {
	s := &Server{options: o, log: o.Log, mux: http.NewServeMux(), patterns: map[string]operation{}, streams: make(chan struct{}, maxStreams)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	a := humago.New(s.mux, config())
	a.OpenAPI().Components.Schemas.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[api.Problem]())
	r := &router{s, a}
	r.pages()
	r.looks()
	r.changes()
	r.works()
	r.get("openapi", "/openapi.json", "This document", page{kind: "application/json"}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(s.document)
	})
	finish(a.OpenAPI())
	var err error
	if s.document, err = json.MarshalIndent(a.OpenAPI(), "", "  "); err != nil {
		panic(err) // it depends on nothing but this package
	}
	return s
}

// config is huma's. Its pages, its formats and its links are left out: what is answered stands here.
func config() huma.Config {
	c := huma.Config{OpenAPI: &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{Title: "Roost admin API", Version: "1", Description: "Shows and changes a running balancer. " +
			"Over TCP every request needs the token of the file admin.token in the state directory; over the unix socket none does. " +
			"Every error is problem details (RFC 9457) with a code for scripts. " +
			"Answers about what the API can change carry the revision of all changes as ETag; a change with If-Match is made only if it is still the same."},
		Servers: []*huma.Server{{URL: "http://127.0.0.1:7070", Description: "where it listens unless configured otherwise; also on the unix socket roost.sock"}},
		Components: &huma.Components{SecuritySchemes: map[string]*huma.SecurityScheme{
			"token": {Type: "http", Scheme: "bearer", Description: "the content of the file admin.token; not needed over the unix socket"},
		}},
		Security: []map[string][]string{{"token": {}}},
	}}
	c.Formats = map[string]huma.Format{"application/json": format(), "json": format()}
	c.DefaultFormat = "application/json"
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{transform}
	return c
}

// router puts routes into the mux and into the document, so that none is in one alone.
type router struct {
	*Server
	api huma.API
}

// page is how a route answers that is not huma's.
type page struct {
	kind   string // media type
	others []int  // statuses beside 200
	operation
}

// get adds a page that is read by GET, at an absolute path, or one below root.
func (r *router) get(id, path, summary string, p page, h http.HandlerFunc) {
	if !p.page {
		path = root + path
	}
	op := &huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Responses: map[string]*huma.Response{}}
	schema := &huma.Schema{Type: huma.TypeString}
	if p.kind == "application/json" {
		schema = &huma.Schema{Type: huma.TypeObject}
	}
	for _, status := range append([]int{http.StatusOK}, p.others...) {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status),
			Content: map[string]*huma.MediaType{p.kind: {Schema: schema}}}
	}
	problem := r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Problem](), true, "Problem")
	for _, status := range always {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status),
			Content: map[string]*huma.MediaType{problemType: {Schema: problem}}}
	}
	if p.free != nil {
		op.Security = []map[string][]string{{}, {"token": {}}}
	}
	r.api.OpenAPI().AddOperation(op)
	pattern := "GET " + path
	if path == "/" {
		pattern = "GET /{$}"
	}
	r.mux.HandleFunc(pattern, h)
	r.patterns[pattern] = p.operation
}

// always are the statuses that any route can answer.
var always = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout,
	http.StatusRequestEntityTooLarge, http.StatusInternalServerError}

// add adds a route of the API. offered tells that the balancer has what it needs; errors are the statuses it can answer
// beside those of all routes.
func add[I, O any](r *router, method, path, id, summary string, offered bool, errors []int, h func(context.Context, *I) (*O, error), with ...func(*huma.Operation, *operation)) {
	op := huma.Operation{OperationID: id, Method: method, Path: root + path, Summary: summary,
		MaxBodyBytes: maxBody + 1, // the body is read already, and no longer than maxBody
		Errors:       slices.Concat(always, []int{http.StatusNotImplemented}, errors)}
	var needs operation
	if _, needs.body = reflect.TypeFor[I]().FieldByName("Body"); needs.body {
		op.Errors = append(op.Errors, http.StatusUnsupportedMediaType)
	}
	for _, f := range with {
		f(&op, &needs)
	}
	huma.Register(r.api, op, func(ctx context.Context, in *I) (*O, error) {
		if !offered {
			return nil, refuse(http.StatusNotImplemented, api.CodeNotOffered, "this balancer does not offer it")
		}
		out, err := h(ctx, in)
		if err != nil {
			return nil, err
		}
		lists(reflect.ValueOf(out))
		return out, nil
	})
	r.patterns[method+" "+op.Path] = needs
}

// finish makes the document say what huma cannot know.
func finish(doc *huma.OpenAPI) {
	schemas := doc.Components.Schemas.Map()
	for _, s := range schemas {
		for _, p := range s.Properties {
			notNull(p)
		}
	}
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Put, path.Post, path.Patch, path.Delete} {
			if op == nil {
				continue
			}
			for status, response := range op.Responses {
				if media := response.Content["application/json"]; media != nil {
					notNull(media.Schema)
				}
				if codes := codesOf(status); codes != "" {
					response.Description += ": " + codes
				}
				if status == "401" {
					response.Headers = map[string]*huma.Param{"WWW-Authenticate": {Schema: &huma.Schema{Type: huma.TypeString}}}
				}
			}
		}
	}
}

// notNull: no list is ever null, see lists.
func notNull(s *huma.Schema) {
	for ; s != nil; s = s.Items {
		if s.Type == huma.TypeArray {
			s.Nullable = false
		}
	}
}

// codesOf lists the codes that a status is answered with.
func codesOf(status string) string {
	codes := map[string][]string{
		"400": {api.CodeBadRequest, api.CodeBadBody}, "401": {api.CodeUnauthorized},
		"403": {api.CodeHostUnknown, api.CodeOriginForeign, api.CodeSocketOnly}, "408": {api.CodeBadRequest},
		"413": {api.CodeTooLarge}, "415": {api.CodeMediaType}, "500": {api.CodeInternal}, "501": {api.CodeNotOffered},
		"503": {api.CodeTooManyStreams, api.CodeUnfinished}, "409": {api.CodeUpgradeFailed},
	}[status]
	for code, of := range statuses {
		if strconv.Itoa(of) == status {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	return strings.Join(codes, ", ")
}
