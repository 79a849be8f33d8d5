package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// room is a node of WebSockets and events:
//
//	/rooms/NAME   a WebSocket that echoes; the text "close CODE REASON" makes the node close it so
//	/events/NAME  server-sent events, each sent only after the one before was acknowledged
//	/ack/NAME?n=N acknowledges
//	/report       takes what a page found out
//	/page         the page
//
// Several nodes may share what they hear: a page's report may come to any of them.
type room struct {
	name  string
	heard *heard
}

// heard is what rooms were told.
type heard struct {
	sockets chan socket // one for each WebSocket that was opened
	closes  chan closed // one for each that was closed, but by the node
	reports chan []byte

	mu   sync.Mutex // guards acks
	acks map[string]chan int
}

type socket struct{ node, path string }

type closed struct {
	path string
	websocket.CloseError
}

func newRoom() *room { return &room{name: "n", heard: newHeard()} }

func newHeard() *heard {
	return &heard{sockets: make(chan socket, 100), closes: make(chan closed, 100), reports: make(chan []byte, 1), acks: map[string]chan int{}}
}

// rooms runs n of them.
func rooms(t testing.TB, n int) (addrs []string, h *heard) {
	t.Helper()
	h = newHeard()
	for i := range n {
		addrs = append(addrs, newNode(t, &room{fmt.Sprintf("n%d", i+1), h}))
	}
	return addrs, h
}

// events is how many a stream has.
const events = 30

func (m *room) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Node", m.name)
	switch {
	case strings.HasPrefix(r.URL.Path, "/rooms/"):
		m.socket(w, r)
	case strings.HasPrefix(r.URL.Path, "/events/"):
		m.events(w, r)
	case strings.HasPrefix(r.URL.Path, "/ack/"):
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		select {
		case m.heard.ack(strings.TrimPrefix(r.URL.Path, "/ack/")) <- n:
		case <-r.Context().Done():
		}
	case r.URL.Path == "/report":
		buf := make([]byte, 64<<10)
		n := 0
		for err := error(nil); err == nil && n < len(buf); {
			var k int
			k, err = r.Body.Read(buf[n:])
			n += k
		}
		m.heard.reports <- buf[:n]
	case r.URL.Path == "/page":
		http.ServeFile(w, r, "testdata/page.html")
	default:
		http.NotFound(w, r)
	}
}

func (h *heard) ack(stream string) chan int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.acks[stream] == nil {
		h.acks[stream] = make(chan int)
	}
	return h.acks[stream]
}

func (m *room) socket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(8 << 20)
	m.heard.sockets <- socket{m.name, r.URL.Path}
	for {
		kind, data, err := conn.Read(r.Context())
		if err != nil {
			var ce websocket.CloseError
			errors.As(err, &ce)
			m.heard.closes <- closed{r.URL.Path, ce}
			return
		}
		var code websocket.StatusCode
		var reason string
		if n, _ := fmt.Sscanf(string(data[:min(len(data), 100)]), "close %d %s", &code, &reason); n == 2 {
			conn.Close(code, reason)
			return
		}
		if err := conn.Write(r.Context(), kind, data); err != nil {
			return
		}
	}
}

func (m *room) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	acks := m.heard.ack(strings.TrimPrefix(r.URL.Path, "/events/"))
	for n := range events {
		fmt.Fprintf(w, "id: %d\ndata: event %d\n\n", n, n)
		w.(http.Flusher).Flush()
		select {
		case got := <-acks:
			if got != n {
				panic(http.ErrAbortHandler)
			}
		case <-time.After(patience):
			panic(http.ErrAbortHandler)
		case <-r.Context().Done():
			return
		}
	}
}

func dialRoom(t testing.TB, url string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
