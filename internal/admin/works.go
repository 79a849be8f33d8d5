package admin

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"roost/internal/api"
)

// works are the routes about the process: its configuration, its events, its binary; and what it would do.
func (r *router) works() {
	add(r, http.MethodGet, "/config", "config", "The configuration in use", r.options.Config != nil, nil,
		func(context.Context, *nothing) (*shown[api.Config], error) {
			return &shown[api.Config]{r.options.Config()}, nil
		})
	add(r, http.MethodPost, "/reload", "reload", "Read the configuration again", r.options.Reload != nil, nil,
		func(ctx context.Context, in *struct {
			DryRun bool `query:"dry_run" doc:"only say what it would change"`
		}) (*shown[api.Reload], error) {
			return &shown[api.Reload]{r.options.Reload(ctx, "api", in.DryRun)}, nil
		}, func(op *huma.Operation, _ *operation) {
			op.Description = "A configuration with mistakes is an answer, with ok false and all of them in errors; nothing changed then."
		})
	add(r, http.MethodPost, "/explain", "explain", "Where a request would go, and why", r.options.Explain != nil, []int{http.StatusNotFound},
		func(_ context.Context, in *struct{ Body api.Request }) (*shown[api.Explanation], error) {
			return show(r.options.Explain(in.Body))
		})
	add(r, http.MethodPost, "/upgrade", "upgrade", "Start the program's new binary and give it the listeners", r.options.Upgrade != nil,
		[]int{http.StatusConflict, http.StatusServiceUnavailable},
		func(ctx context.Context, _ *nothing) (*shown[api.Upgrade], error) {
			up, err := r.options.Upgrade(ctx)
			if err != nil {
				return nil, failed(err, http.StatusConflict, api.CodeUpgradeFailed)
			}
			return &shown[api.Upgrade]{up}, nil
		}, func(op *huma.Operation, needs *operation) {
			needs.socketOnly = true
			op.Description = "Answered over the unix socket only: whoever reaches that may run the binary anyway."
		})
	r.events()
}

// events adds the stream of events. It is not huma's own kind: that one knows no heartbeat and no end.
func (r *router) events() {
	type input struct {
		LastEventID uint64 `header:"Last-Event-ID" doc:"the last event that was seen: the next ones follow. Without it, all that are kept"`
		Follow      bool   `query:"follow" default:"true" doc:"false: end after what is kept"`
	}
	add(r, http.MethodGet, "/events", "events", "Changes of state, as operators' log lines tell them", r.options.Events != nil,
		[]int{http.StatusServiceUnavailable},
		func(_ context.Context, in *input) (*huma.StreamResponse, error) {
			select {
			case r.streams <- struct{}{}:
			default:
				return nil, refuse(http.StatusServiceUnavailable, api.CodeTooManyStreams, "%d streams of events are open, which is all there can be", maxStreams)
			}
			return &huma.StreamResponse{Body: func(c huma.Context) {
				defer func() { <-r.streams }()
				q, w := humago.Unwrap(c)
				if q.Method == http.MethodHead {
					w.Header().Set("Content-Type", eventStream)
					return
				}
				stream(q.Context(), w, r.options.Events, in.LastEventID, in.Follow)
			}}, nil
		}, func(op *huma.Operation, _ *operation) {
			r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Event](), true, "Event")
			op.Description = "Server-sent events (HTML Living Standard, 9.2). Each has an id and one Event as data. " +
				"One named gap tells that events after Last-Event-ID are not kept any more. A comment comes every 15 s."
			op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
				eventStream: {Schema: &huma.Schema{Type: huma.TypeString, Description: "the data of each is an Event"}}}}}
		})
}
