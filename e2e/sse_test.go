package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// TestEventsAreNotHeldBack proves it in lock-step: the node sends an event only after the client has acknowledged the
// one before, so an event that waits in a buffer stops everything.
func TestEventsAreNotHeldBack(t *testing.T) {
	t.Parallel()
	addrs, _ := rooms(t, 2)
	b := serve(t, "--nodes", nodeList(addrs...))
	for _, c := range []struct {
		name string
		h2c  bool
	}{{"HTTP/1.1", false}, {"HTTP/2", true}} {
		t.Run(c.name, func(t *testing.T) {
			client := newClient(t, c.h2c)
			stream := fmt.Sprint("h2c-", c.h2c)
			resp, err := client.Get(b.url("/events/" + stream))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			in := bufio.NewScanner(resp.Body)
			n := 0
			for in.Scan() {
				if in.Text() != fmt.Sprintf("data: event %d", n) {
					continue
				}
				get(t, client, b.url(fmt.Sprintf("/ack/%s?n=%d", stream, n)))
				n++
			}
			if n != events || in.Err() != nil {
				t.Errorf("%d of %d events, %v", n, events, in.Err())
			}
		})
	}
}

// TestBothWaysAtOnce sends and receives on one exchange in lock-step: neither body may wait for the other's end.
func TestBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	addr := newNode(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		rc.Flush()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "got %s\n", lines.Text())
			rc.Flush()
		}
	}))
	b := serve(t, "--nodes", addr)
	for _, c := range []struct {
		name string
		h2c  bool
	}{{"HTTP/1.1", false}, {"HTTP/2", true}} {
		t.Run(c.name, func(t *testing.T) { lockStep(t, newClient(t, c.h2c), b.url("/talk")) })
	}
}

func lockStep(t *testing.T, client *http.Client, url string) {
	in, out := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, url, in)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewScanner(resp.Body)
	for n := range 20 {
		fmt.Fprintf(out, "line %d\n", n)
		if !answers.Scan() || answers.Text() != fmt.Sprintf("got line %d", n) {
			t.Fatalf("line %d: got %q, %v", n, answers.Text(), answers.Err())
		}
	}
	out.Close()
	if answers.Scan() || answers.Err() != nil {
		t.Errorf("after the end: %q, %v", answers.Text(), answers.Err())
	}
}
