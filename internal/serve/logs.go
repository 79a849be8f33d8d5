package serve

import (
	"bytes"
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

// lines lets one line through at a time, whichever handler wrote it, and whoever reads them holds nobody up: standard error
// may be a pipe that is full because its reader stands still, and health, changes and the end of the balancer all log. While
// one line is not taken, those that follow are dropped and counted.
type lines struct {
	w    io.Writer
	mu   sync.Mutex      // guards the two below, and w as long as nothing is late
	late <-chan struct{} // closed when a line that was not waited for any longer is written; nil: there is none
	lost int             // lines since then
}

// lineLimit is how long a line may take. A disk that writes at all takes milliseconds.
const lineLimit = time.Second

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stuck() {
		l.lost++
		return len(b), nil
	}
	line, done := bytes.Clone(b), make(chan struct{})
	go func() { // a system's write cannot be called off; one that never ends is left to the end of the process
		defer close(done)
		l.w.Write(line) // there is nowhere to tell that a log cannot be written
	}()
	limit := time.NewTimer(lineLimit)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		l.late = done
	}
	return len(b), nil
}

// stuck tells whether a line is still not written. mu is held.
func (l *lines) stuck() bool {
	select {
	case <-l.late:
		l.late = nil
	default:
	}
	return l.late != nil
}

// missing says, once lines are written again, how many were not, and forgets it.
func (l *lines) missing() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stuck() {
		n, l.lost = l.lost, 0
	}
	return n
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
	if n := h.to.missing(); n > 0 {
		lost := slog.NewRecord(r.Time, slog.LevelWarn, "lines of this log are lost: nobody took them in time", 0)
		lost.Add("lines", n)
		to.Handle(ctx, lost)
	}
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
func (a *accessLog) use(l *access.Log, g *group, log *slog.Logger) {
	old, stop := a.now.Swap(l), a.stop
	a.stop = g.start("access log", func(ctx context.Context) error {
		if err := l.Run(ctx); err != nil { // lines are lost; that ends no balancer, and makes no end a failure
			log.Warn("the access log did not end well", "error", err)
		}
		return nil
	})
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
	l := b.access.now.Load()
	if l == nil {
		return // the start is not over: it has just been opened
	}
	b.log.Info("opening the access log again", "file", b.config().Log.Access)
	l.Reopen()
}

// closeLog closes a log that was opened and is not going to be used.
func closeLog(l *access.Log) {
	ended, end := context.WithCancel(context.Background())
	end()
	l.Run(ended) // it is empty: there is nothing that could fail
}
