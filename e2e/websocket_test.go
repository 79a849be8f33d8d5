package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestSocketsOfOneRoomMeetOnOneNode opens many WebSockets at once.
func TestSocketsOfOneRoomMeetOnOneNode(t *testing.T) {
	t.Parallel()
	addrs, h := rooms(t, 3)
	b := serve(t, "--nodes", nodeList(addrs...))
	const many, sockets = 13, 5 // 13, so that taking turns among three nodes does not look like a home
	for i := range many * sockets {
		conn := dialRoom(t, b.url(fmt.Sprintf("/rooms/%d", i%many)))
		defer conn.CloseNow()
	}
	at := map[string]map[string]int{}
	used := map[string]bool{}
	for range many * sockets {
		s := <-h.sockets
		if at[s.path] == nil {
			at[s.path] = map[string]int{}
		}
		at[s.path][s.node]++
		used[s.node] = true
	}
	for path, nodes := range at {
		if len(nodes) != 1 {
			t.Errorf("the sockets of %s are on %v", path, nodes)
		}
	}
	if len(used) != len(addrs) {
		t.Errorf("%d rooms are all on %v", many, used)
	}
	if got := b.status(t).Pools[0].InFlight; got != 0 {
		t.Errorf("%d idle WebSockets count as %d requests in flight", many*sockets, got)
	}
}

// finding is what a WebSocket client says of one thing it tried.
type finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Got  string `json:"got"`
}

// wanted are the names of what each client tries.
var wanted = []string{"text", "binary", "1 MiB", "node closes", "client closes"}

func judge(t *testing.T, found []finding, names []string) {
	t.Helper()
	ok := map[string]bool{}
	for _, f := range found {
		ok[f.Name] = f.OK
		if !f.OK {
			t.Errorf("%s: got %s", f.Name, f.Got)
		}
	}
	for _, name := range names {
		if _, tried := ok[name]; !tried {
			t.Errorf("%s: not tried", name)
		}
	}
}

// judgeClose checks what the node heard when the client closed.
func judgeClose(t *testing.T, h *heard) {
	t.Helper()
	for limit := time.After(patience); ; {
		select {
		case c := <-h.closes:
			if c.path != "/rooms/client-closes" {
				continue
			}
			if c.Code != 4001 || c.Reason != "enough" {
				t.Errorf("the node heard code %d %q, want 4001 enough", c.Code, c.Reason)
			}
			return
		case <-limit:
			t.Fatal("the node never heard that the client closed")
		}
	}
}

// TestWebSocketByWS uses npm's ws, the client and server that most of the world runs.
func TestWebSocketByWS(t *testing.T) {
	t.Parallel()
	node, npm := program(t, "node", "nodejs"), program(t, "npm")
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/ws")); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := command(t, 2*time.Minute, dir, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"); code != 0 {
		missing(t, "npm cannot install ws: "+out+errs)
	}
	addrs, h := rooms(t, 2)
	b := serve(t, "--nodes", nodeList(addrs...))
	out, errs, code := command(t, time.Minute, dir, node, "client.mjs", "ws://"+b.addr)
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	var found []finding
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	judge(t, found, append([]string{"ping", "compressed"}, wanted...))
	judgeClose(t, h)
}

// TestWebSocketAndEventsByBrowser opens a page in a real browser, through Roost, and lets it report.
func TestWebSocketAndEventsByBrowser(t *testing.T) {
	t.Parallel()
	path := program(t, "chromium", "chromium-browser", "google-chrome")
	addrs, h := rooms(t, 2)
	b := serve(t, "--nodes", nodeList(addrs...))
	browser := start(t, exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--no-proxy-server", "--user-data-dir="+profile(t), "--remote-debugging-port=0", b.url("/page")))
	var report []byte
	select {
	case report = <-h.reports:
	case <-browser.gone:
		t.Fatal("the browser has ended without a report")
	case <-time.After(time.Minute):
		t.Fatal("the page has not reported within a minute")
	}
	var found []finding
	if err := json.Unmarshal(report, &found); err != nil {
		t.Fatalf("%v\n%s", err, report)
	}
	judge(t, found, append([]string{"events"}, wanted...))
	judgeClose(t, h)
}

// profile is a fresh directory for a browser, which may write to it after it was told to end.
func profile(t *testing.T) string {
	dir, err := os.MkdirTemp("", "roost-e2e-browser-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, patience, func() string {
			if err := os.RemoveAll(dir); err != nil {
				return err.Error()
			}
			return ""
		})
	})
	return dir
}

// TestBigMessagesAndCompressionPassUnchanged sends what a client library does not: many messages at once, of every size
// around the edges of buffers, in both directions.
func TestBigMessagesAndCompressionPassUnchanged(t *testing.T) {
	t.Parallel()
	addrs, _ := rooms(t, 1)
	b := serve(t, "--nodes", nodeList(addrs...))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := dialRoom(t, b.url("/rooms/big"))
	defer conn.CloseNow()
	conn.SetReadLimit(8 << 20)
	var sizes []int
	for n := 1; n <= 4<<20; n *= 4 {
		sizes = append(sizes, n-1, n, n+1)
	}
	sent := make(chan error, 1)
	go func() {
		for _, n := range sizes {
			if err := conn.Write(ctx, websocket.MessageBinary, []byte(strings.Repeat("x", n))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for _, n := range sizes {
		_, data, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) != n || strings.Trim(string(data), "x") != "" {
			t.Fatalf("a message of %d bytes came back as %d", n, len(data))
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Errorf("close: %v", err)
	}
}
