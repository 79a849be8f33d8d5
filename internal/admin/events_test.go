package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"

	"roost/internal/api"
)

func TestEventsAreAsSlogWantsThem(t *testing.T) {
	e := NewEvents(slog.DiscardHandler)
	results := func() (all []map[string]any) {
		events, _, _, _ := e.ring.after(0, kept)
		for _, event := range events {
			m := map[string]any{}
			if err := json.Unmarshal(event.Attrs, &m); err != nil {
				t.Fatal(err)
			}
			m[slog.LevelKey], m[slog.MessageKey] = event.Level, event.Message
			if !event.Time.IsZero() {
				m[slog.TimeKey] = event.Time
			}
			all = append(all, m)
		}
		return all
	}
	if err := slogtest.TestHandler(e, results); err != nil {
		t.Error(err)
	}
}

// oops panics as a nil value of a type whose methods do not expect one does.
type oops struct{ text string }

func (o *oops) Error() string { return o.text }

func TestEventsTellEveryKindOfValue(t *testing.T) {
	e := NewEvents(slog.DiscardHandler)
	log := slog.New(e).With("a", 1).WithGroup("g")
	var nothing *oops
	log.Info("x", "text", "ü<&>\x00", "n", int64(math.MinInt64), "u", uint64(math.MaxUint64), "f", 0.5, "nan", math.NaN(), "b", true,
		"d", 90*time.Second, "t", time.Unix(1, 5).UTC(), "err", fmt.Errorf("do it: %w", errors.New("no")), "list", []int{1, 2}, "nil", nil,
		"panics", nothing, "func", t.Name, slog.Group("h", "i", "j"), slog.Group("empty"), slog.Group("", "inline", 1), "twice", 1, "twice", 2)
	events, _, _, _ := e.ring.after(0, kept)
	text := string(events[0].Attrs)
	for _, want := range []string{`{"a":1,"g":{`, `"n":-9223372036854775808`, `"u":18446744073709551615`, `"f":0.5`, `"nan":"NaN"`, `"b":true`, `"d":"1m30s"`,
		`"t":"1970-01-01T00:00:01.000000005Z"`, `"err":"do it: no"`, `"list":[1,2]`, `"nil":null`, `"panics":"!PANIC`, `"h":{"i":"j"}`, `"inline":1`, `"twice":2`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing: %s", want, text)
		}
	}
	if strings.Contains(text, "empty") {
		t.Errorf("an empty group is told: %s", text)
	}
	log.Error(strings.Repeat("m", 2*maxMessage), "much", strings.Repeat("x", 2*maxAttrs))
	events, _, _, _ = e.ring.after(events[0].ID, kept)
	if n := len(events[0].Message); n > maxMessage+len("…") || events[0].Level != "error" || !strings.Contains(string(events[0].Attrs), "left_out") {
		t.Errorf("a long line: %d bytes, %s", n, events[0].Attrs)
	}
}

func TestEveryLineIsPassedOnAndThoseOfInfoAndAboveAreKept(t *testing.T) {
	var out strings.Builder
	e := NewEvents(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	log := slog.New(e)
	log.Debug("d")
	log.Info("i")
	log.Warn("w")
	events, _, _, _ := e.ring.after(0, kept)
	if len(events) != 2 || events[0].Message != "i" || events[1].Message != "w" || strings.Contains(out.String(), "msg=i") || !strings.Contains(out.String(), "msg=w") {
		t.Errorf("%v; %s", events, out.String())
	}
	if log.Enabled(t.Context(), slog.LevelDebug) || !log.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("the levels are wrong")
	}
	out.Reset()
	e = NewEvents(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	slog.New(e).Debug("d")
	if events, _, _, _ := e.ring.after(0, kept); events != nil || !strings.Contains(out.String(), "msg=d") {
		t.Errorf("%v; %s", events, out.String())
	}
}

func TestTheRingKnowsWhatItLost(t *testing.T) {
	r := newRing(time.Unix(1000, 0))
	const first = 1000_000_000
	add := func(n int) {
		for range n {
			r.add(time.Unix(2000, 0), slog.LevelInfo, "x", json.RawMessage("{}"))
		}
	}
	check := func(after uint64, n int, from uint64, count int, lost uint64) {
		t.Helper()
		events, last, gone, _ := r.after(after, n)
		if len(events) != count || gone != lost {
			t.Fatalf("after %d: %d events, lost %d, want %d, %d", after, len(events), gone, count, lost)
		}
		for i, e := range events {
			if e.ID != from+uint64(i) {
				t.Fatalf("after %d: event %d has the id %d", after, i, e.ID)
			}
		}
		if want := from + uint64(count) - 1; last != want {
			t.Errorf("after %d: go on by %d, want %d", after, last, want)
		}
	}
	check(0, 10, first, 0, 0)
	check(first-1, 10, first, 0, 0)
	check(7, 10, first, 0, first-1)        // of a process before
	check(first+99, 10, first, 0, first-1) // of one whose clock was ahead
	add(3)
	check(0, 10, first, 3, 0)
	check(0, 2, first, 2, 0)
	check(first+1, 10, first+2, 1, 0)
	check(first+2, 10, first+3, 0, 0)
	check(first+3, 10, first, 3, first-1)
	add(kept - 3)
	check(0, 10_000, first, kept, 0)
	add(5)
	check(0, 10_000, first+5, kept, 0)
	check(first+3, 10_000, first+5, kept, first+4)
	check(first+4, 10_000, first+5, kept, 0)
	check(math.MaxUint64, 1, first+5, 1, first+4)
}

// reader is a client of a stream.
type reader struct {
	mu            sync.Mutex // guards what was written, and what of it was flushed
	written, read strings.Builder
}

func (r *reader) Header() http.Header { return http.Header{} }
func (r *reader) WriteHeader(int)     {}

func (r *reader) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written.Write(b)
}

func (r *reader) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read.WriteString(r.written.String())
	r.written.Reset()
}

// follow streams until the bubble's end; text is what a client has read by now.
func follow(t *testing.T, e *Events, after uint64) (text func() string) {
	r := new(reader)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan bool)
	go func() {
		stream(ctx, r, e, after, true)
		close(done)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return func() string {
		synctest.Wait() // it waits for what comes next
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.read.String()
	}
}

func TestAStreamTellsWhatWasWhatComesAndThatItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEvents(slog.DiscardHandler)
		log := slog.New(e)
		log.Info("first", "n", 1)
		text := follow(t, e, 0)
		want := "id: 946684800000000\ndata: {\"id\":946684800000000,\"time\":\"2000-01-01T00:00:00Z\",\"level\":\"info\",\"message\":\"first\",\"attrs\":{\"n\":1}}\n\n"
		if got := text(); got != want {
			t.Errorf("%q", got)
		}
		log.Warn("line\nfeed")
		if got := strings.TrimPrefix(text(), want); !strings.HasPrefix(got, "id: 946684800000001\ndata: {") || !strings.Contains(got, `line\nfeed`) || strings.Count(got, "\n") != 3 {
			t.Errorf("%q", got)
		}
		before := text()
		time.Sleep(heartbeat - time.Nanosecond)
		if text() != before {
			t.Errorf("%q", text())
		}
		time.Sleep(heartbeat + time.Nanosecond)
		if got := strings.TrimPrefix(text(), before); got != ":\n\n:\n\n" {
			t.Errorf("%q", got)
		}
	})
}

func TestAStreamThatFellBehindIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEvents(slog.DiscardHandler)
		first := e.ring.first
		for i := range kept + 10 {
			slog.New(e).Info(fmt.Sprint("line ", i))
		}
		text := follow(t, e, first+3)()
		head, _, _ := strings.Cut(text, "line 10\"")
		if want := fmt.Sprintf("id: %d\nevent: gap\ndata: {\"id\":%d,", first+9, first+9); !strings.HasPrefix(text, want) || strings.Count(head, "\nevent: ") != 1 {
			t.Errorf("%.300q", text)
		}
		if n := strings.Count(text, "id: "); n != kept+1 {
			t.Errorf("%d events", n)
		}
		if again := follow(t, e, first+9)(); strings.Contains(again, "event: gap") || strings.Count(again, "id: ") != kept {
			t.Errorf("resumed after the gap: %.300q", again)
		}
		if ahead := follow(t, e, math.MaxUint64)(); strings.Count(ahead, "event: gap") != 1 || strings.Count(ahead, "id: ") != kept+1 {
			t.Errorf("an id of nowhere: %.300q", ahead)
		}
	})
}

func TestAStreamThatIsNotFollowedEnds(t *testing.T) {
	f := new(fake)
	s := New(f.options())
	for i := range 200 {
		slog.New(f.events).Info(fmt.Sprint("line ", i))
	}
	w := call(s, "GET", "/api/v1/events?follow=false", "")
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/event-stream" || strings.Count(w.Body.String(), "data: ") != 200 {
		t.Errorf("%d: %.300s", w.Code, w.Body)
	}
	if len(s.streams) != 0 {
		t.Error("its place is not free again")
	}
}

func TestThereIsAnEndToHowManyStreamsAreOpen(t *testing.T) {
	s := New(options())
	for range maxStreams {
		s.streams <- struct{}{}
	}
	w := call(s, "GET", "/api/v1/events?follow=false", "")
	if p := problem(t, w.Code, w.Header(), w.Body.String()); w.Code != 503 || p.Code != api.CodeTooManyStreams {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	<-s.streams
	if w := call(s, "GET", "/api/v1/events?follow=false", ""); w.Code != 200 {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
