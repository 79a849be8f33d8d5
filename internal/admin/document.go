package admin

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"roost/internal/api"
)

// humaConfig is huma's configuration. Its pages, its formats and its links are left out: what is answered stands here.
func humaConfig() huma.Config {
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
	c.Formats = map[string]huma.Format{jsonType: format(), "json": format()}
	c.DefaultFormat = jsonType
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{transform}
	return c
}

// complete makes the document say what huma cannot know.
func complete(doc *huma.OpenAPI) {
	doc.Components.Responses = map[string]*huma.Response{}
	asked := map[*huma.Schema]bool{}
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Put, path.Post, path.Patch, path.Delete} {
			if op == nil {
				continue
			}
			if op.RequestBody != nil {
				asked[doc.Components.Schemas.SchemaFromRef(op.RequestBody.Content[jsonType].Schema.Ref)] = true
			}
			for status, response := range op.Responses {
				if media := response.Content[jsonType]; media != nil {
					notNull(media.Schema)
				}
				if response.Content[problemType] != nil {
					op.Responses[status] = share(doc.Components.Responses, status, response)
				}
			}
		}
	}
	for _, schema := range doc.Components.Schemas.Map() {
		if !asked[schema] {
			schema.AdditionalProperties = nil // answers may grow
		}
		for _, property := range schema.Properties {
			notNull(property)
		}
	}
}

// share puts a response into shared, for all routes, and returns what stands for it.
func share(shared map[string]*huma.Response, status string, r *huma.Response) *huma.Response {
	name := strings.NewReplacer(" ", "", "-", "").Replace(r.Description)
	if shared[name] == nil {
		shared[name] = r
		r.Description = strings.Join(codesOf(status), ", ")
		if status == strconv.Itoa(http.StatusUnauthorized) {
			r.Headers = map[string]*huma.Param{"WWW-Authenticate": {Schema: &huma.Schema{Type: huma.TypeString}}}
		}
	}
	return &huma.Response{Ref: "#/components/responses/" + name}
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
func codesOf(status string) []string {
	codes := map[string][]string{
		"400": {api.CodeBadRequest, api.CodeBadBody},
		"401": {api.CodeUnauthorized},
		"403": {api.CodeHostUnknown, api.CodeOriginForeign, api.CodeSocketOnly},
		"408": {api.CodeBadRequest},
		"409": {api.CodeUpgradeFailed},
		"413": {api.CodeTooLarge},
		"415": {api.CodeMediaType},
		"500": {api.CodeInternal},
		"501": {api.CodeNotOffered},
		"503": {api.CodeTooManyStreams, api.CodeUnfinished},
	}[status]
	for code, of := range statuses {
		if strconv.Itoa(of) == status {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	return codes
}
