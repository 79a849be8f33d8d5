package e2e

import (
	"cmp"
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
	state string // its state directory
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
	if err := os.WriteFile(file, []byte(withEngine(strings.ReplaceAll(config, "ADMIN", admin))), 0o600); err != nil {
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
	return launchIn(t, listeners, shortDir(t), admin, args...)
}

// launchIn starts a balancer in a state that one before may have left.
func launchIn(t testing.TB, listeners int, state, admin string, args ...string) *balancer {
	t.Helper()
	return launchBinary(t, roostBinary(t), listeners, state, admin, args...)
}

func launchBinary(t testing.TB, bin string, listeners int, state, admin string, args ...string) *balancer {
	t.Helper()
	if args[0] != "-c" {
		args = append([]string{"--engine", cmp.Or(engine(), "auto")}, args...)
	}
	cmd := exec.Command(bin, append([]string{"serve"}, args...)...)
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+state)
	b := &balancer{child: start(t, cmd), addrs: map[string]string{}, admin: admin, state: state}
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

// engine is the engine of all balancers of the tests; "": their default.
func engine() string { return os.Getenv("ROOST_ENGINE") }

// withEngine is a configuration that names the engine.
func withEngine(config string) string {
	if engine() == "" {
		return config
	}
	return config + "\nengine: " + engine() + "\n"
}

func (b *balancer) url(path string) string { return "http://" + b.addr + path }

// term asks the balancer to end and returns its exit code.
func (b *balancer) term(t testing.TB) int {
	t.Helper()
	b.signal(t, syscall.SIGTERM)
	return b.wait(t, patience)
}

// roost runs one of the command line's verbs at the balancer.
func (b *balancer) roost(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return command(t, 2*patience, "", roostBinary(t), append(args, "--socket", filepath.Join(b.state, "roost.sock"))...)
}

// must is roost for a verb that succeeds.
func (b *balancer) must(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, code := b.roost(t, args...)
	if code != 0 {
		t.Fatalf("roost %s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// ask returns what the admin listener says to those who have the token.
func (b *balancer) ask(t testing.TB, path string) (status int, header http.Header, body string) {
	t.Helper()
	return b.tell(t, http.MethodGet, path)
}

// post asks the admin listener to do something.
func (b *balancer) post(t testing.TB, path string) (status int, body string) {
	t.Helper()
	status, _, body = b.tell(t, http.MethodPost, path)
	return status, body
}

func (b *balancer) tell(t testing.TB, method, path string) (status int, header http.Header, body string) {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(b.state, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, "http://"+b.admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := (&http.Client{Timeout: patience}).Do(req)
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
	code, _, body := b.ask(t, "/api/v1/status")
	var s roost.Status
	if err := json.Unmarshal([]byte(body), &s); code != http.StatusOK || err != nil {
		t.Fatalf("admin: status: %d %v\n%s", code, err, body)
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
	t.Fatalf("admin: the status knows no node %q", id)
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
