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

// again is how long Events waits before it asks anew.
const again = 250 * time.Millisecond

// Patience is how long a balancer that answered before may be away, before those who wait for something of it give up:
// longer than its restart takes, with the drain before it.
const Patience = 30 * time.Second

// Events calls f with every event after the one with the id after (0: with all that the balancer still keeps), in order.
// With follow it goes on with what happens from now on until ctx ends, f fails or the balancer refuses, and a stream that
// breaks is resumed where it broke.
func (c *Client) Events(ctx context.Context, after uint64, follow bool, f func(api.Event) error) error {
	var lost time.Time // when the balancer last broke off
	for {
		opened, err := c.stream(ctx, after, follow, func(e api.Event) error {
			after = e.ID
			return f(e)
		})
		if opened {
			lost = time.Now()
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !follow, err != nil && !errors.Is(err, ErrNobody), time.Since(lost) > Patience:
			return err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stream reads one stream to its end, and says whether there was one.
func (c *Client) stream(ctx context.Context, after uint64, follow bool, f func(api.Event) error) (opened bool, err error) {
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
		return false, err
	}
	defer resp.Body.Close()
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
		return false, fmt.Errorf("%s answered %q in place of a stream of events", c.where(), kind)
	}
	for r := newReader(resp.Body); ; {
		data, err := r.next()
		switch {
		case err == io.EOF:
			return true, nil
		case err == errTooLong:
			return true, err
		case err != nil:
			return true, fmt.Errorf("%w to the end of its events: %w", ErrNobody, err)
		}
		var e api.Event
		if err := json.Unmarshal(data, &e); err != nil {
			return true, fmt.Errorf("read an event: %w", err)
		}
		if err := f(e); err != nil {
			return true, err
		}
	}
}

// maxEvent bounds the data of one event: a log line and what belongs to it.
const maxEvent = 1 << 20

var errTooLong = errors.New("an event is longer than 1 MiB")

// reader reads server-sent events (HTML Living Standard, 9.2.6) whose lines end with LF or CRLF. Of their fields only data
// counts here: an event's id stands in it.
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
