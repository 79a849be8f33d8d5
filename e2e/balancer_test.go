package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"roost"
)

// balancer is a running `roost serve`.
type balancer struct {
	*child
	addr  string            // of the first listener
	addrs map[string]string // of every listener, by name
	admin string
}

// serve starts a balancer by flags on a free port, and waits until it listens. Later flags win.
func serve(t testing.TB, args ...string) *balancer {
	t.Helper()
	return launch(t, 1, freePort(t), append([]string{"--listen", "127.0.0.1:0"}, args...)...)
}

// serveConfig starts a balancer by a configuration file in which ADMIN stands for a free address, and waits until all
// its listeners listen.
func serveConfig(t testing.TB, listeners int, config string) *balancer {
	t.Helper()
	admin := freePort(t)
	file := filepath.Join(t.TempDir(), "roost.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "ADMIN", admin)), 0o600); err != nil {
		t.Fatal(err)
	}
	return launch(t, listeners, admin, "-c", file)
}

// listening is what serve logs once a listener is open and the first table is published.
var listening = regexp.MustCompile(`msg=listening listener="?([^" ]+)"? address="?([^" ]+)"?`)

func launch(t testing.TB, listeners int, admin string, args ...string) *balancer {
	t.Helper()
	if args[0] != "-c" {
		args = append([]string{"--admin", admin}, args...)
	}
	cmd := exec.Command(roostBinary(t), append([]string{"serve"}, args...)...)
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+shortDir(t))
	b := &balancer{child: start(t, cmd), addrs: map[string]string{}, admin: admin}
	b.stderr.await(t, listeners, "msg=listening", func(line string) bool {
		m := listening.FindStringSubmatch(line)
		if m == nil {
			return false
		}
		if b.addr == "" {
			b.addr = m[2]
		}
		b.addrs[m[1]] = m[2]
		return true
	})
	return b
}

func (b *balancer) url(path string) string { return "http://" + b.addr + path }

// term asks the balancer to end and returns its exit code.
func (b *balancer) term(t testing.TB) int {
	t.Helper()
	b.signal(t, syscall.SIGTERM)
	return b.wait(t, patience)
}

// ask returns what the admin listener says.
func (b *balancer) ask(t testing.TB, path string) (status int, header http.Header, body string) {
	t.Helper()
	resp, err := (&http.Client{Timeout: patience}).Get("http://" + b.admin + path)
	if err != nil {
		t.Fatalf("admin: %v", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("admin: read %s: %v", path, err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func (b *balancer) status(t testing.TB) roost.Status {
	t.Helper()
	code, _, body := b.ask(t, "/status")
	var s roost.Status
	if err := json.Unmarshal([]byte(body), &s); code != http.StatusOK || err != nil {
		t.Fatalf("admin: /status: %d %v\n%s", code, err, body)
	}
	return s
}

// nodeStatus is what the balancer says of one node.
func (b *balancer) nodeStatus(t testing.TB, id string) roost.NodeStatus {
	t.Helper()
	for _, p := range b.status(t).Pools {
		for _, n := range p.Nodes {
			if string(n.ID) == id {
				return n
			}
		}
	}
	t.Fatalf("admin: /status knows no node %q", id)
	return roost.NodeStatus{}
}

// awaitNode waits until the balancer gives a node all of its weight, or none.
func (b *balancer) awaitNode(t testing.TB, id string, whole bool) roost.NodeStatus {
	t.Helper()
	var n roost.NodeStatus
	eventually(t, patience, func() string {
		n = b.nodeStatus(t, id)
		if whole && n.Effective >= n.Weight || !whole && n.Effective == 0 {
			return ""
		}
		return fmt.Sprintf("node %s: verdict %s, effective weight %v of %v, reason %q", id, n.Verdict, n.Effective, n.Weight, n.Reason)
	})
	return n
}

// freePort returns a loopback address that nobody listens on at the moment.
func freePort(t testing.TB) string {
	t.Helper()
	ln := listenOn(t, "127.0.0.1:0")
	defer ln.Close()
	return ln.Addr().String()
}

func listenOn(t testing.TB, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}
