package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"roost/internal/api"
)

// again is how long Events waits before it asks anew: a balancer that restarts is back in about a second.
const again = time.Second

// Events calls f with every event after the one with the id after (0: with all that the balancer still keeps), in order,
// until ctx ends, f fails, or the balancer refuses. With follow it goes on with what happens from now on; a stream that
// breaks is resumed where it broke, for as long as a balancer answers within limit.
func (c *Client) Events(ctx context.Context, after uint64, follow bool, limit time.Duration, f func(api.Event) error) error {
	heard := time.Now()
	for {
		err := c.stream(ctx, after, follow, func(e api.Event) error {
			after, heard = e.ID, time.Now()
			return f(e)
		})
		var broken *brokenStream
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && !follow:
			return nil
		case err != nil && !errors.As(err, &broken) && !errors.Is(err, ErrNobody):
			return err
		case errors.Is(err, ErrNobody) && time.Since(heard) > limit:
			return err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// brokenStream is a stream that ended where it should go on.
type brokenStream struct{ err error }

func (b *brokenStream) Error() string { return "the stream of events broke: " + b.err.Error() }

// stream reads one stream to its end.
func (c *Client) stream(ctx context.Context, after uint64, follow bool, f func(api.Event) error) error {
	h := http.Header{"Accept": {"text/event-stream"}}
	if after > 0 {
		h.Set("Last-Event-ID", strconv.FormatUint(after, 10))
	}
	path := "/events"
	if !follow {
		path += "?follow=false"
	}
	resp, err := c.send(ctx, http.MethodGet, path, nil, h)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
		return fmt.Errorf("the balancer answered %q in place of a stream of events", kind)
	}
	r := newReader(resp.Body)
	for {
		data, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &brokenStream{err}
		}
		var e api.Event
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
}

// maxEvent bounds the data of one event: a log line and what belongs to it.
const maxEvent = 1 << 20

var errTooLong = errors.New("an event is longer than 1 MiB")

// reader reads server-sent events (HTML Living Standard, 9.2.6). Of their fields only data counts here: an event's id and
// kind stand in it.
type reader struct{ lines *bufio.Scanner }

func newReader(r io.Reader) *reader {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxEvent)
	return &reader{s}
}

// next returns the data of the next event that has any, or io.EOF. What the end cuts off is no event.
func (r *reader) next() ([]byte, error) {
	var data []byte
	has := false
	for r.lines.Scan() {
		line := r.lines.Text()
		if line == "" {
			if has {
				return data, nil
			}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		if name != "data" {
			continue
		}
		if has {
			data = append(data, '\n')
		}
		data, has = append(data, strings.TrimPrefix(value, " ")...), true
		if len(data) > maxEvent {
			return nil, errTooLong
		}
	}
	if err := r.lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, errTooLong
	} else if err != nil {
		return nil, err
	}
	return nil, io.EOF
}
