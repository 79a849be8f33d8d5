package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"roost"
)

// TestADrainedNodeLosesNothing drains one of three nodes while 1,000 requests/s run, some of them slow.
func TestADrainedNodeLosesNothing(t *testing.T) {
	const rate = 1000
	needQuiet(t, rate)
	b := serve(t, "--nodes", nodeList(echoes(t, 3)...))
	client := newClient(t, false)
	l := startLoad(t, rate, func(ctx context.Context, c *call) {
		c.key = c.n % 200
		wait := 0
		if c.n%20 == 0 {
			wait = 400
		}
		exchange(ctx, client, b.url(fmt.Sprintf("/k%d?ms=%d", c.key, wait)), nil, c)
	})
	l.begun(t, rate)
	began := time.Now()
	out, stderr, code := b.roost(t, "nodes", "drain", "n2", "--wait")
	drained := time.Now()
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, stderr)
	}
	if n := b.nodeStatus(t, "n2"); n.InFlight != 0 || n.Duty != "draining" {
		t.Errorf("after the drain: %+v", n)
	}
	l.begun(t, rate)
	b.must(t, "nodes", "undrain", "n2")
	l.begun(t, rate)
	var last time.Time
	late, back := 0, 0
	calls := l.finish(t)
	few := &few{t: t}
	defer few.close()
	for _, c := range calls {
		if c.failed() {
			few.Errorf("%v", c)
		}
		if c.node != "n2" {
			continue
		}
		if c.begin.Before(drained) && c.end.After(last) {
			last = c.end
		}
	}
	for _, c := range calls {
		if c.node == "n2" && c.begin.After(drained) {
			late++
			if c.begin.Before(drained.Add(time.Second)) {
				back++
			}
		}
	}
	if late == 0 {
		t.Error("after undrain the node gets nothing")
	}
	if back > 0 {
		t.Errorf("%d calls went to the node within a second of its drain's end", back)
	}
	// The command ends when the last request has: it looks ten times a second.
	if gap := drained.Sub(last); last.After(began) && (gap < -50*time.Millisecond || gap > 2*time.Second) {
		t.Errorf("the last request ended %v before the command", gap)
	}
	t.Logf("%d calls; the drain took %v, its last request ended %v before", len(calls), drained.Sub(began), drained.Sub(last))

	// A drain that cannot be done in time says so, and goes on.
	hold := make(chan struct{})
	slow := newNode(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-hold }))
	defer close(hold)
	b.must(t, "nodes", "add", "slow="+slow, "--wait")
	b.must(t, "keys", "pin", "/slow", "slow")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go exchange(ctx, client, b.url("/slow"), nil, &call{}) // ends with ctx
	eventually(t, patience, func() string {
		if n := b.nodeStatus(t, "slow"); n.InFlight != 1 {
			return fmt.Sprintf("%d requests in flight", n.InFlight)
		}
		return ""
	})
	out, stderr, code = b.roost(t, "nodes", "drain", "slow", "--wait", "--timeout", "300ms")
	if code != 3 || !strings.Contains(out+stderr, "1 request") {
		t.Errorf("exit code %d, want 3\n%s%s", code, out, stderr)
	}
	for _, n := range []string{"n1", "n2"} {
		b.must(t, "nodes", "drain", n)
	}
	if out, stderr, code = b.roost(t, "nodes", "drain", "n3"); code != 1 || !strings.Contains(stderr, "--force") {
		t.Errorf("the last node: exit code %d\n%s%s", code, out, stderr)
	}
	if _, _, code = b.roost(t, "nodes", "drain", "nope"); code != 1 {
		t.Errorf("an unknown node: exit code %d", code)
	}
	b.must(t, "nodes", "drain", "n3", "--force")
}

// TestWhatOperatorsSetSurvivesAKill sets nodes, weights, pins and holds by the command line and kills the balancer.
func TestWhatOperatorsSetSurvivesAKill(t *testing.T) {
	nodes := echoes(t, 4)
	state, admin := shortDir(t), freePort(t)
	args := []string{"--admin", admin, "--listen", "127.0.0.1:0", "--nodes", nodeList(nodes[:3]...)}
	b := launchIn(t, 1, state, admin, args...)
	b.must(t, "nodes", "add", "n4="+nodes[3]+"*2")
	b.must(t, "nodes", "weight", "n1", "0.5")
	b.must(t, "nodes", "drain", "n3")
	b.must(t, "keys", "pin", "/pinned", "n4", "n1")
	b.must(t, "pools", "homes", "2")
	look := func(b *balancer) (homes map[string]string, says string) {
		homes = map[string]string{}
		for k := range 300 {
			key := fmt.Sprintf("/k%d", k)
			var at struct{ Homes []string }
			if err := json.Unmarshal([]byte(b.keyAt(t, key)), &at); err != nil {
				t.Fatal(err)
			}
			homes[key] = strings.Join(at.Homes, " ")
		}
		s := b.status(t)
		for _, n := range s.Pools[0].Nodes {
			says += fmt.Sprintf("%s %v %s %v; ", n.ID, n.Weight, n.Duty, n.Sources)
		}
		return homes, says + fmt.Sprint(s.Revision, s.Pools[0].Homes, s.Pools[0].Pins, s.Pools[0].Digest) + b.keyAt(t, "/pinned")[:40]
	}
	homes, says := look(b)
	for range 3 {
		b.kill()
		b = launchIn(t, 1, state, admin, args...)
		after, now := look(b)
		if now != says {
			t.Fatalf("before the kill %s\nafter it        %s", says, now)
		}
		for key, home := range homes {
			if after[key] != home {
				t.Errorf("key %s was at %s, and is at %s", key, home, after[key])
			}
		}
	}
	if got := b.nodeStatus(t, "n3"); got.Duty != "draining" || got.Held == nil || got.Held.Cause != "operator" {
		t.Errorf("n3: %+v", got)
	}
	var at struct {
		Exception string
		Homes     []string
	}
	if err := json.Unmarshal([]byte(b.keyAt(t, "/pinned")), &at); err != nil || at.Exception != "pin" || strings.Join(at.Homes, " ") != "n4 n1" {
		t.Errorf("/pinned: %+v %v", at, err)
	}
}

// keyAt asks the API where a key lives, without the cost of a process.
func (b *balancer) keyAt(t testing.TB, key string) string {
	t.Helper()
	code, _, body := b.ask(t, "/api/v1/pools/default/keys/where?key="+key)
	if code != 200 {
		t.Fatalf("key %s: %d %s", key, code, body)
	}
	return body
}

// TestAStoreThatFailsNeverStopsTraffic spoils the database of a running balancer in every way that is known.
func TestAStoreThatFailsNeverStopsTraffic(t *testing.T) {
	ways := []struct {
		name  string
		spoil func(t *testing.T, b *balancer, file string) (mend func())
		says  string
	}{
		{"locked", func(t *testing.T, b *balancer, file string) func() {
			db := openDB(t, file)
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.ExecContext(t.Context(), "BEGIN EXCLUSIVE"); err != nil {
				t.Fatal(err)
			}
			return func() { conn.Close(); db.Close() }
		}, "another process"},
		{"newer", func(t *testing.T, b *balancer, file string) func() {
			db := openDB(t, file)
			defer db.Close()
			var was int
			if err := db.QueryRow("PRAGMA user_version").Scan(&was); err != nil {
				t.Fatal(err)
			}
			set := func(db *sql.DB, to int) {
				if _, err := db.Exec(fmt.Sprintf("PRAGMA user_version = %d", to)); err != nil {
					t.Fatal(err)
				}
			}
			set(db, was+1)
			return func() { db := openDB(t, file); defer db.Close(); set(db, was) }
		}, "newer version"},
		{"truncated", func(t *testing.T, b *balancer, file string) func() {
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(file, 1500); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := os.WriteFile(file, whole, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}, "damaged"},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			state := shortDir(t)
			admin := freePort(t)
			b := launchIn(t, 1, state, admin, "--admin", admin, "--listen", "127.0.0.1:0", "--nodes", nodeList(echoes(t, 3)...))
			file := filepath.Join(state, "roost.db")
			b.must(t, "nodes", "weight", "n1", "2")
			mend := way.spoil(t, b, file)
			storeFails(t, b, way.says)
			if t.Failed() {
				mend()
				return
			}
			if way.name != "locked" { // a lock passes; the others keep the next process from starting
				startFails(t, state, way.says)
			}
			mend()
			eventually(t, patience, func() string {
				if _, stderr, code := b.roost(t, "nodes", "weight", "n1", "3"); code != 0 {
					return stderr
				}
				return ""
			})
			if got := b.nodeStatus(t, "n1").Weight; got != 3 {
				t.Errorf("weight %v", got)
			}
		})
	}
	t.Run("a full disk", func(t *testing.T) {
		if os.Geteuid() != 0 {
			missing(t, "making a small file system needs root")
		}
		state, outside, admin := shortDir(t), shortDir(t), freePort(t)
		// In a mount namespace of its own the state lies on a file system of 128 KiB.
		cmd := exec.Command(program(t, "unshare"), "-m", "sh", "-c", `mount -t tmpfs -o size=128k roost-test "$STATE_DIRECTORY" && exec "$0" "$@"`,
			roostBinary(t), "serve", "--admin", admin, "--admin-socket", filepath.Join(outside, "roost.sock"), "--listen", "127.0.0.1:0", "--nodes", nodeList(echoes(t, 3)...))
		cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+state)
		b := &balancer{child: start(t, cmd), admin: admin, state: outside}
		b.stderr.await(t, 1, "msg=listening", func(line string) bool {
			if m := listening.FindStringSubmatch(line); m != nil {
				b.addr = m[2]
			}
			return b.addr != ""
		})
		inside := fmt.Sprintf("/proc/%d/root%s", b.cmd.Process.Pid, state)
		token, err := os.ReadFile(filepath.Join(inside, "admin.token"))
		if err == nil {
			err = os.WriteFile(filepath.Join(outside, "admin.token"), token, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		b.must(t, "nodes", "weight", "n1", "2")
		ballast := filepath.Join(inside, "ballast")
		for size := 128 << 10; size > 0; size /= 2 { // until nothing more fits
			f, err := os.OpenFile(ballast, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			f.Write(make([]byte, size))
			f.Close()
		}
		storeFails(t, b, "no room")
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		b.must(t, "nodes", "weight", "n1", "3")
	})
}

func openDB(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// storeFails checks that a change is refused with the store's own words, and that traffic and looks go on.
func storeFails(t *testing.T, b *balancer, says string) {
	t.Helper()
	_, stderr, code := b.roost(t, "keys", "pin", "/x", "n1")
	if code != 1 || !strings.Contains(stderr, says) {
		t.Errorf("exit code %d, %q does not say %q", code, stderr, says)
	}
	for k := range 100 {
		resp, err := http.Get(b.url(fmt.Sprintf("/k%d", k)))
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", resp, err)
		}
		resp.Body.Close()
	}
	var s roost.Status
	eventually(t, patience, func() string {
		if s = b.status(t); !strings.Contains(s.Store.Fault, says) {
			return fmt.Sprintf("the status says %q of the store", s.Store.Fault)
		}
		return ""
	})
	if s.Pools[0].Nodes[0].Weight != 2 || s.Revision != 1 {
		t.Errorf("what was set before is lost: %+v", s.Pools[0].Nodes[0])
	}
	if _, _, metrics := b.ask(t, "/metrics"); !strings.Contains(metrics, "roost_store_up 0") {
		t.Error("roost_store_up is not 0")
	}
}

// startFails checks that a balancer does not start over a store that it cannot read, and says why.
func startFails(t *testing.T, state, says string) {
	t.Helper()
	other := shortDir(t)
	file, err := os.ReadFile(filepath.Join(state, "roost.db"))
	if err == nil {
		err = os.WriteFile(filepath.Join(other, "roost.db"), file, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, stderr, code := command(t, patience, "", roostBinary(t), "serve", "--admin", "off", "--listen", "127.0.0.1:0", "--nodes", "127.0.0.1:9", "--state", other)
	if code != 1 || !strings.Contains(stderr, says) {
		t.Errorf("a start over it: exit code %d, %q does not say %q", code, stderr, says)
	}
}
