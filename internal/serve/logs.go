package serve

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"roost"
	"roost/internal/access"
)

// logHandler is a slog.Handler whose level and format can be changed while loggers of it are in use.
type logHandler struct {
	to   *lines
	now  *atomic.Pointer[slog.Handler]
	with []func(slog.Handler) slog.Handler // what With added to it, in order
}

// lines lets one line through at a time, whichever handler wrote it.
type lines struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// newLogHandler writes to w, as use says. It is used once before anything is logged.
func newLogHandler(w io.Writer) *logHandler {
	if w == nil {
		w = io.Discard
	}
	return &logHandler{to: &lines{w: w}, now: &atomic.Pointer[slog.Handler]{}}
}

// use makes level and format those of l.
func (h *logHandler) use(l roost.Log) {
	opts := &slog.HandlerOptions{}
	var level slog.Level // info, also for the zero Log; config has validated the others
	if level.UnmarshalText([]byte(l.Level)) == nil {
		opts.Level = level
	}
	var next slog.Handler = slog.NewTextHandler(h.to, opts)
	if l.Format == "json" {
		next = slog.NewJSONHandler(h.to, opts)
	}
	h.now.Store(&next)
}

func (h *logHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return (*h.now.Load()).Enabled(ctx, l)
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	to := *h.now.Load()
	for _, add := range h.with {
		to = add(to)
	}
	return to.Handle(ctx, r)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.and(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return h.and(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *logHandler) and(add func(slog.Handler) slog.Handler) *logHandler {
	return &logHandler{to: h.to, now: h.now, with: append(h.with[:len(h.with):len(h.with)], add)}
}

// accessLog is the access log in use. Reloads replace it.
type accessLog struct {
	now  atomic.Pointer[access.Log]
	past atomic.Uint64 // lines that those before lost
	stop func()        // ends now
}

// lateLines is how long a log that was replaced is still written: a request that found it in use adds its line within
// microseconds, or, when its thread stands still, milliseconds.
const lateLines = time.Second

// use writes to l from now on.
func (a *accessLog) use(l *access.Log, g *group) {
	old, stop := a.now.Swap(l), a.stop
	a.stop = g.start("access log", l.Run)
	if old == nil {
		return
	}
	g.start("end of the access log before", func(ctx context.Context) error {
		late := time.NewTimer(lateLines)
		defer late.Stop()
		select {
		case <-late.C:
		case <-ctx.Done():
		}
		stop()
		a.past.Add(old.Dropped())
		return nil
	})
}

// dropped is how many lines were lost since the start.
func (a *accessLog) dropped() uint64 { return a.past.Load() + a.now.Load().Dropped() }

// ReopenLogs opens the access log by its name again, after it was rotated.
func (b *Balancer) ReopenLogs() {
	b.log.Info("opening the access log again", "file", b.config().Log.Access)
	b.access.now.Load().Reopen()
}

// closeLog closes a log that was opened and is not going to be used.
func closeLog(l *access.Log) {
	ended, end := context.WithCancel(context.Background())
	end()
	l.Run(ended) // it is empty: there is nothing that could fail
}
