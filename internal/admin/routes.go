package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"roost"
	"roost/internal/api"
)

// root is where the API begins. A change that breaks clients begins another one.
const root = "/api/v1"

// operation is what is known of a route before its handler runs.
type operation struct {
	page       bool // not of the API: its query is its own
	body       bool // it takes one
	socketOnly bool
	free       freedom
}

// freedom says when a route needs no token.
type freedom uint8

const (
	never      freedom = iota
	unasked            // without a query
	configured         // when admin.open_metrics says so
	always
)

func (o operation) open(r *http.Request, settings roost.Admin) bool {
	switch o.free {
	case unasked:
		return r.URL.RawQuery == ""
	case configured:
		return settings.OpenMetrics
	}
	return o.free == always
}

// New returns a Server that shows and changes what o says.
func New(o Options) *Server {
	s := &Server{options: o, log: o.Log, mux: http.NewServeMux(), operations: map[string]operation{}, streams: make(chan struct{}, maxStreams)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	a := humago.New(s.mux, humaConfig())
	a.OpenAPI().Components.Schemas.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[api.Problem]())
	r := &router{s, a}
	r.pages()
	r.looks()
	r.changes()
	r.works()
	r.get("openapi", root+"/openapi.json", "This document", page{kind: jsonType}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		w.Write(s.document)
	})
	complete(a.OpenAPI())
	var err error
	if s.document, err = json.MarshalIndent(a.OpenAPI(), "", "  "); err != nil {
		panic(err) // it depends on nothing but this package
	}
	return s
}

// router puts routes into the mux and into the document, so that none is in one alone.
type router struct {
	*Server
	api huma.API
}

// page is how a route answers that is not huma's.
type page struct {
	kind     string // media type
	others   []int  // statuses beside 200, in that type
	problems []int  // statuses beside those of all routes
	operation
}

// get adds a page that is read by GET.
func (r *router) get(id, path, summary string, p page, h http.HandlerFunc) {
	op := &huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Responses: map[string]*huma.Response{}}
	document := func(statuses []int, kind string, schema *huma.Schema) {
		for _, status := range statuses {
			op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status),
				Content: map[string]*huma.MediaType{kind: {Schema: schema}}}
		}
	}
	schema := &huma.Schema{Type: huma.TypeString}
	if p.kind == jsonType {
		schema = &huma.Schema{Type: huma.TypeObject}
	}
	document(append(p.others, http.StatusOK), p.kind, schema)
	document(slices.Concat(p.problems, everywhere), problemType, r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Problem](), true, "Problem"))
	switch p.free {
	case always:
		delete(op.Responses, strconv.Itoa(http.StatusUnauthorized))
		op.Security = []map[string][]string{{}}
	case unasked, configured:
		op.Security = []map[string][]string{{}, {"token": {}}}
	}
	r.api.OpenAPI().AddOperation(op)
	pattern := "GET " + path
	if path == "/" {
		pattern += "{$}"
	}
	r.mux.HandleFunc(pattern, h)
	r.operations[pattern] = p.operation
}

const jsonType = "application/json"

// everywhere are the statuses that any route can answer.
var everywhere = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout,
	http.StatusRequestEntityTooLarge, http.StatusInternalServerError}

// add adds a route of the API. offered tells that the balancer has what it needs; errors are the statuses it can answer
// beside those of all routes.
func add[I, O any](r *router, method, path, id, summary string, offered bool, errors []int,
	h func(context.Context, *I) (*O, error), with ...func(*huma.Operation, *operation)) {
	op := huma.Operation{OperationID: id, Method: method, Path: root + path, Summary: summary,
		MaxBodyBytes: maxBody + 1, BodyReadTimeout: -1, // the body is read already, and no longer than maxBody
		Errors: slices.Concat(everywhere, []int{http.StatusUnprocessableEntity, http.StatusNotImplemented}, errors)}
	var needs operation
	if _, needs.body = reflect.TypeFor[I]().FieldByName("Body"); needs.body {
		op.Errors = append(op.Errors, http.StatusUnsupportedMediaType)
	}
	for _, f := range with {
		f(&op, &needs)
	}
	huma.Register(r.api, op, func(ctx context.Context, in *I) (*O, error) {
		if !offered {
			return nil, notOffered()
		}
		out, err := h(ctx, in)
		if err != nil {
			return nil, err
		}
		lists(reflect.ValueOf(out))
		return out, nil
	})
	r.operations[method+" "+op.Path] = needs
}

func notOffered() *failure {
	return refuse(http.StatusNotImplemented, api.CodeNotOffered, "this balancer does not offer it")
}
