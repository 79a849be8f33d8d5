package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"roost/internal/api"
)

const (
	// kept is how many events are kept for those who come later. A balancer writes some hundred lines in a bad hour.
	kept = 1024
	// maxMessage and maxAttrs bound one event's bytes, so that all that are kept are a few MiB at the very most.
	maxMessage = 1 << 10
	maxAttrs   = 8 << 10
)

// Events keep the latest operators' log lines, those of level info and above, for the API's stream. They are a
// slog.Handler that stands before another one. Handlers derived from it keep into the same ring.
type Events struct {
	next   slog.Handler
	ring   *ring
	scopes []scope // outermost first
}

// scope is what WithGroup and WithAttrs added: one of both is set.
type scope struct {
	group string
	attrs []slog.Attr
}

// NewEvents returns Events that pass everything on to next.
func NewEvents(next slog.Handler) *Events {
	return &Events{next: next, ring: newRing(time.Now())}
}

// Enabled tells whether next or the ring takes lines of a level.
func (e *Events) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || e.next.Enabled(ctx, level)
}

// Handle keeps a line, and passes it on if next takes its level. The error is next's.
func (e *Events) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		e.ring.add(r.Time.UTC(), r.Level, cut(r.Message), e.attrs(r))
	}
	if !e.next.Enabled(ctx, r.Level) {
		return nil
	}
	return e.next.Handle(ctx, r)
}

// WithAttrs returns Events whose lines have attrs.
func (e *Events) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return e
	}
	return &Events{e.next.WithAttrs(attrs), e.ring, append(slices.Clip(e.scopes), scope{attrs: attrs})}
}

// WithGroup returns Events whose lines have their attrs in a group.
func (e *Events) WithGroup(name string) slog.Handler {
	if name == "" {
		return e
	}
	return &Events{e.next.WithGroup(name), e.ring, append(slices.Clip(e.scopes), scope{group: name})}
}

// attrs are a line's as one JSON object.
func (e *Events) attrs(r slog.Record) json.RawMessage {
	whole := map[string]any{}
	in := whole
	for _, s := range e.scopes {
		if s.group != "" {
			in = into(in, s.group)
		}
		for _, a := range s.attrs {
			put(in, a)
		}
	}
	r.Attrs(func(a slog.Attr) bool {
		put(in, a)
		return true
	})
	prune(whole)
	text, err := json.Marshal(whole)
	if err != nil { // put makes nothing that does not marshal
		panic(err)
	}
	if len(text) > maxAttrs {
		text = fmt.Appendf(nil, `{"left_out":"%d bytes of attributes; the log has them"}`, len(text))
	}
	return text
}

// put lays an attribute into an object as slog's own handlers do: empty ones are left out, groups are objects, one without
// a name is laid into its parent.
func put(in map[string]any, a slog.Attr) {
	v := a.Value.Resolve()
	if a.Key == "" && v.Kind() != slog.KindGroup {
		return
	}
	switch v.Kind() {
	case slog.KindGroup:
		if a.Key != "" {
			in = into(in, a.Key)
		}
		for _, inner := range v.Group() {
			put(in, inner)
		}
	case slog.KindInt64:
		in[a.Key] = v.Int64()
	case slog.KindUint64:
		in[a.Key] = v.Uint64()
	case slog.KindBool:
		in[a.Key] = v.Bool()
	default:
		in[a.Key] = written(v)
	}
}

// written is what is no plain number or group: as JSON when it has a form there, else as text.
func written(v slog.Value) (out any) {
	defer func() { // a nil pointer with a method that does not expect it, as slog's own handlers allow
		if bug := recover(); bug != nil {
			out = fmt.Sprintf("!PANIC: %v", bug)
		}
	}()
	switch v.Kind() {
	case slog.KindString, slog.KindDuration:
		return v.String()
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	}
	if err, ok := v.Any().(error); ok {
		return err.Error()
	}
	if text, err := json.Marshal(v.Any()); err == nil {
		return json.RawMessage(text)
	}
	return v.String()
}

// into is the object of that name in another one.
func into(in map[string]any, name string) map[string]any {
	inner, ok := in[name].(map[string]any)
	if !ok {
		inner = map[string]any{}
		in[name] = inner
	}
	return inner
}

// prune removes groups that are empty.
func prune(in map[string]any) {
	for name, v := range in {
		if inner, ok := v.(map[string]any); ok {
			if prune(inner); len(inner) == 0 {
				delete(in, name)
			}
		}
	}
}

func cut(s string) string {
	if len(s) > maxMessage {
		return s[:maxMessage] + "…"
	}
	return s
}

// ring keeps the latest events. Their ids are consecutive, and begin with the microseconds since 1970 at the start: a
// balancer's that was started later are higher than all that were seen of the one before.
type ring struct {
	mu     sync.Mutex // guards all below
	first  uint64     // id of the first event ever
	next   uint64     // id of the next one
	events [kept]api.Event
	added  chan struct{} // closed when there is a new one, and then replaced
	counts map[string]uint64
}

func newRing(start time.Time) *ring {
	id := uint64(max(start.UnixMicro(), 2)) // so that the one before it is not 0
	return &ring{first: id, next: id, added: make(chan struct{}), counts: map[string]uint64{}}
}

func (r *ring) add(at time.Time, level slog.Level, message string, attrs json.RawMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := levelName(level)
	r.events[r.next%kept] = api.Event{ID: r.next, Time: at, Level: name, Message: message, Attrs: attrs}
	r.next++
	r.counts[name]++
	close(r.added)
	r.added = make(chan struct{})
}

func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "error"
	case l >= slog.LevelWarn:
		return "warn"
	}
	return "info"
}

// after copies the kept events that follow the one with the given id (0: all), at most n of them, and says by which id to
// go on, and when there will be more. lost is the id of the last event between that is not kept any more, or was another
// process's; 0: none is missing.
func (r *ring) after(id uint64, n int) (events []api.Event, last, lost uint64, added <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := max(r.first, r.next-min(r.next, kept))
	switch {
	case id == 0:
	case id+1 < from, id >= r.next: // the latter is of a process whose clock was ahead
		lost = from - 1
	default:
		from = id + 1
	}
	for ; from < r.next && len(events) < n; from++ {
		events = append(events, r.events[from%kept])
	}
	return events, from - 1, lost, r.added
}

// counted are the events ever, by level.
func (r *ring) counted() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}
