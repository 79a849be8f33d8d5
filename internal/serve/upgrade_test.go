package serve

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"roost"
	"roost/internal/config"
	"roost/internal/listen"
	"roost/internal/upgrade"
)

// childRole is the environment variable that makes this test's binary the process which an upgrade starts.
const childRole = "ROOST_TEST_CHILD"

func TestMain(m *testing.M) {
	if file := os.Getenv(childRole); file != "" {
		os.Exit(childMain(file))
	}
	os.Exit(m.Run())
}

// childMain serves by a configuration file, as cmd/roost does, until SIGTERM.
func childMain(file string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	parent := upgrade.FromParent()
	in, err := listen.Inherit()
	if err == nil {
		cfg, diags, lerr := config.Load(file)
		if err = lerr; err == nil && diags.Failed() {
			diags.Text(os.Stderr)
			return 1 // its last words stand on standard error
		}
		if err == nil {
			err = Run(ctx, cfg, Options{Version: "child", LogTo: os.Stderr, Drain: patience, Inherited: in, Parent: parent})
		}
	}
	if err != nil {
		parent.Fail(err)
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// upgradable runs a balancer that an upgrade replaces by a process of this test's binary.
func upgradable(t *testing.T, text string) *house {
	t.Helper()
	program := &upgrade.Options{Path: os.Args[0], Args: []string{}}
	h := build(t, text, houseOptions{Options: Options{Program: program}})
	program.Env = []string{childRole + "=" + h.file}
	return h
}

// endChild asks the process that serves over a socket to end, at the end of the test, and waits for that.
func endChild(t *testing.T, socket string, pid int) {
	t.Cleanup(func() {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Error(err)
			return
		}
		conn, err := net.Dial("unix", socket)
		for err == nil { // it removes its socket when it ends
			conn.Close()
			conn, err = net.Dial("unix", socket)
		}
	})
}

func TestAnUpgradeRefusesNoConnectionAndLeavesOpenOnesWhereTheyAre(t *testing.T) {
	manager := manage(t)
	node, release := echo(t, "n")
	twin, release2 := echo(t, "n")
	dir := state(t)
	web, admin := freeAddr(t), freeAddr(t)
	h := upgradable(t, fmt.Sprintf("listeners: { web: { address: %q } }\npools: { fn: { nodes: [ n=%s, m=%s ], health: { probe: none } } }\nstate: %s\nadmin: { listen: %s }\n", web, node, twin, dir, admin))
	h.change(roost.SetWeight{Pool: "fn", Node: "n", Weight: 3000})
	homes := h.homes("fn")
	tunnel, busy := dial(t, web), dial(t, web)
	tunnel.upgrade("/ws")
	busy.ask("/slow")
	h.await("the request is at its node", func(s roost.Status) bool { return s.Listeners[0].Connections == 2 && s.Pools[0].InFlight >= 1 })

	// Clients that never stop.
	stop := make(chan struct{})
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Get("http://" + web + "/x")
				if err != nil {
					t.Errorf("a request while the process is replaced: %v", err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("a request while the process is replaced: %s", resp.Status)
				}
			}
		})
	}
	manager.told("READY=1")
	socket := overSocket(t, dir+"/roost.sock")
	var done struct {
		Version string
		PID     int
		Left    int64
	}
	if status := socket.do("POST", "/api/v1/upgrade", "", &done); status != 200 || done.Version != "child" || done.PID == os.Getpid() || done.Left < 2 {
		t.Fatalf("upgrade: %d %+v", status, done)
	}
	endChild(t, dir+"/roost.sock", done.PID)
	for told := ""; told != fmt.Sprintf("MAINPID=%d", done.PID); { // the new process speaks at the same time
		told = manager.next()
	}

	// The socket is the new process's at once, and it knows what the old one knew.
	var st roost.Status
	if socket.do("GET", "/api/v1/status", "", &st); st.Version != "child" || st.Revision != 1 || !st.Ready {
		t.Errorf("the new process: %+v", st)
	}
	if status := overTCP(t, admin, dir+"/admin.token").do("GET", "/api/v1/status", "", &st); status != 200 || st.Version != "child" {
		t.Errorf("the new process over TCP: %d %s", status, st.Version)
	}
	for key, want := range homes {
		var k struct{ Homes, Next []string }
		if socket.do("GET", "/api/v1/pools/fn/keys/where?key="+key, "", &k); fmt.Sprint(k.Homes, k.Next) != want {
			t.Fatalf("key %s moved from %s to %s", key, want, fmt.Sprint(k.Homes, k.Next))
		}
		if len(key) > 4 { // some of them are enough
			break
		}
	}
	if _, err := h.Change(t.Context(), roost.SetHomes{Pool: "fn", Homes: 1}, nil); code(err) != roost.CodeEnding {
		t.Errorf("a change in the old process: %v", err)
	}
	close(stop)
	clients.Wait()
	if err := tunnel.echoes(); err != nil {
		t.Errorf("the tunnel: %v", err)
	}
	release()
	release2()
	if body, closes := busy.answer(); body != "n /slow" || !closes {
		t.Errorf("the request in flight: %q, closes %v", body, closes)
	}
	if body, _ := dial(t, web).get("/new"); body != "n /new" {
		t.Errorf("a new connection: %q", body)
	}
	busy.Close()
	tunnel.Close()
	h.log.await(0, "the last connection from before the upgrade has ended") // the old process ends by itself
	if err := h.end(); err != nil {
		t.Errorf("the end of the old process: %v", err)
	}
	if status := socket.do("GET", "/api/v1/status", "", nil); status != 200 {
		t.Errorf("after the end of the old process: %d", status)
	}
}

func TestAnUpgradeThatFailsChangesNothingAndSaysWhy(t *testing.T) {
	node, _ := echo(t, "n")
	dir := state(t)
	conf := fmt.Sprintf("listeners: { web: { address: %q } }\npools: { fn: { nodes: [ %s ] } }\nstate: %s\nadmin: { listen: off }\n", freeAddr(t), node, dir)
	h := upgradable(t, conf)
	conn := dial(t, h.addr("web"))
	conn.get("/x")
	h.write(strings.Replace(conf, "nodes:", "noodles:", 1))
	_, err := h.Upgrade(t.Context())
	if err == nil || !strings.Contains(err.Error(), `unknown setting "noodles"`) {
		t.Fatalf("upgrade: %v", err)
	}
	if body, closes := conn.get("/y"); body != "n /y" || closes {
		t.Errorf("traffic: %q, closes %v", body, closes)
	}
	h.change(roost.SetHomes{Pool: "fn", Homes: 2})
	if status := overSocket(t, dir+"/roost.sock").do("GET", "/api/v1/status", "", nil); status != 200 {
		t.Errorf("the socket: %d", status)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	h.write(strings.Replace(conf, "{ web:", fmt.Sprintf("{ more: { address: %q }, web:", busy.Addr()), 1))
	if _, err := h.Upgrade(t.Context()); err == nil || !strings.Contains(err.Error(), "already in use") {
		t.Errorf("upgrade to a port that is taken: %v", err)
	}
}

func TestAnUpgradeThatWouldForgetChangesIsRefused(t *testing.T) {
	h := upgradable(t, fmt.Sprintf(onePool, "127.0.0.1:1"))
	h.change(roost.SetHomes{Pool: "fn", Homes: 2})
	if _, err := h.Upgrade(t.Context()); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("upgrade: %v", err)
	}
	if rev := h.change(roost.SetHomes{Pool: "fn", Homes: 1}); rev != 2 {
		t.Errorf("revision %d", rev)
	}
}

func TestABalancerWithoutAProgramSaysSo(t *testing.T) {
	h := build(t, fmt.Sprintf(onePool, "127.0.0.1:1"), houseOptions{})
	if _, err := h.Upgrade(t.Context()); err == nil {
		t.Error("it was upgraded")
	}
}

func TestInheritedSocketsAreServedAndThoseThatNobodyWantsAreNamedAndClosed(t *testing.T) {
	node, _ := echo(t, "n")
	var sockets []listen.Socket
	for range 2 {
		ln, err := listen.Open("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		sockets = append(sockets, listen.Socket{Address: ln.Addr().String(), Listener: ln})
	}
	gift, err := (*listen.Inherited)(nil).Give(sockets)
	if err != nil {
		t.Fatal(err)
	}
	defer gift.Close()
	h := &house{t: t, file: filepath.Join(t.TempDir(), "roost.yaml")}
	h.write(fmt.Sprintf("listeners: { web: { address: %q } }\npools: { fn: { nodes: [ %s ] } }\n", sockets[0].Address, node))
	log := newLogLines(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr, cmd.ExtraFiles = append(os.Environ(), childRole+"="+h.file, gift.Env), log, gift.Files
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log.await(0, "msg=listening listener=web address="+sockets[0].Address)
	log.await(0, "an inherited socket is not in the configuration, and was closed\" socket="+sockets[1].Address)
	for _, s := range sockets {
		s.Listener.Close() // ours: only the child's are left
	}
	gift.Close()
	if body, _ := dial(t, sockets[0].Address).get("/x"); body != "n /x" {
		t.Errorf("traffic: %q", body)
	}
	refused(t, sockets[1].Address)
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("end: %v", err)
	}
}

func TestANewProcessThatEndsAsItShouldIsNoAlarm(t *testing.T) {
	node, _ := echo(t, "n")
	web := freeAddr(t)
	h := upgradable(t, fmt.Sprintf("listeners: { web: { address: %q } }\npools: { fn: { nodes: [ %s ], health: { probe: none } } }\n", web, node))
	dial(t, web).upgrade("/ws") // keeps the old process
	up, err := h.Upgrade(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := dial(t, web).get("/x"); body != "n /x" { // it listens to signals
		t.Errorf("the new process: %q", body)
	}
	if err := syscall.Kill(up.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.log.await(0, "the new process has ended")
	if strings.Contains(h.log.String(), "nobody takes new connections") {
		t.Error("an error is told")
	}
}
