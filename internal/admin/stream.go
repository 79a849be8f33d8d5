package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"roost/internal/api"
)

const (
	maxStreams  = 64               // of events at once: dashboards and terminals of one team
	maxBatch    = 64               // events copied at once; what a slow reader does not take waits in the ring, and is lost there
	heartbeat   = 15 * time.Second // below the minute after which proxies and NAT forget a silent connection
	eventStream = "text/event-stream"
)

// stream writes the events after the given one, and with follow all that come, until ctx ends or the client is gone.
func stream(ctx context.Context, w http.ResponseWriter, e *Events, after uint64, follow bool) {
	c := http.NewResponseController(w)
	c.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", eventStream)
	w.WriteHeader(http.StatusOK)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	var b bytes.Buffer
	for {
		events, last, lost, added := e.ring.after(after, maxBatch)
		after = last
		b.Reset()
		if lost > 0 { // it counts as the last of those that are missing
			send(&b, "gap", api.Event{ID: lost, Time: time.Now().UTC(), Level: "warn",
				Message: "events before this one are not kept any more", Attrs: json.RawMessage("{}")})
		}
		for _, event := range events {
			send(&b, "", event)
		}
		if !flush(c, w, b.Bytes()) {
			return
		}
		if len(events) == maxBatch {
			continue
		}
		if !follow {
			return
		}
		select {
		case <-added:
		case <-beat.C:
			if !flush(c, w, []byte(":\n\n")) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func send(b *bytes.Buffer, kind string, e api.Event) {
	fmt.Fprintf(b, "id: %d\n", e.ID)
	if kind != "" {
		fmt.Fprintf(b, "event: %s\n", kind)
	}
	b.WriteString("data: ")
	if err := writeJSON(b, e); err != nil { // one line, and a line feed
		panic(err) // attrs are JSON
	}
	b.WriteByte('\n')
}

// flush hands b to the client, which has its time to take it, and tells whether it is still there.
func flush(c *http.ResponseController, w http.ResponseWriter, b []byte) bool {
	c.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := w.Write(b); err != nil {
		return false
	}
	return c.Flush() == nil
}
