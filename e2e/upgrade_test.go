package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"roost/internal/api"
)

// installed starts a balancer from a binary that can be replaced, and returns where that is.
func installed(t testing.TB, args ...string) (b *balancer, bin string) {
	t.Helper()
	bin = filepath.Join(shortDir(t), "roost")
	install(t, roostBinary(t), bin)
	admin := freePort(t)
	b = launchBinary(t, bin, 1, shortDir(t), admin, append([]string{"--admin", admin, "--listen", "127.0.0.1:0"}, args...)...)
	return b, bin
}

// install puts a copy of a program where another may be running from, as packages do.
func install(t testing.TB, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenFile(to+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}

// upgrade asks for an upgrade, and sees to it that the new process ends with the test.
func (b *balancer) upgrade(t testing.TB) api.Upgrade {
	t.Helper()
	var u api.Upgrade
	if err := json.Unmarshal([]byte(b.must(t, "upgrade", "-o", "json")), &u); err != nil || u.PID <= 0 || u.PID == b.cmd.Process.Pid {
		t.Fatalf("upgrade: %+v %v", u, err)
	}
	t.Cleanup(func() {
		// The number may be another program's by now.
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", u.PID)); err == nil && strings.Contains(filepath.Base(exe), "roost") {
			syscall.Kill(u.PID, syscall.SIGKILL)
		}
	})
	return u
}

// homes says where some keys live.
func (b *balancer) homes(t testing.TB) (homes string) {
	t.Helper()
	for i := range 50 {
		var k api.Key
		if err := json.Unmarshal([]byte(b.keyAt(t, fmt.Sprintf("/r/f%d", i))), &k); err != nil || len(k.Homes) == 0 {
			t.Fatalf("key %d: %+v %v", i, k, err)
		}
		homes += fmt.Sprint(k.Homes)
	}
	return homes
}

// awaitOld waits until n processes that were upgraded have served their last connection.
func (b *balancer) awaitOld(t testing.TB, n int) {
	t.Helper()
	b.stderr.await(t, n, "the end of an old process", func(line string) bool {
		return strings.Contains(line, "the last connection from before the upgrade has ended")
	})
}

// TestUpgradesDropNothing replaces a balancer under 500 WebSockets and 1,000 requests/s, and then once more while the first
// process still serves its WebSockets.
func TestUpgradesDropNothing(t *testing.T) {
	const sockets, rate = 500, 1000
	needQuiet(t, rate)
	b, bin := installed(t, "--nodes", nodeList(lounges(t, 3)...))
	b.must(t, "nodes", "weight", "n1", "0.5")
	b.must(t, "keys", "pin", "/r/f1", "n2")
	homes := b.homes(t)
	c := gather(t, sockets, rate, b.url)
	c.load.begun(t, rate)

	install(t, roostBinary(t), bin)
	first := b.upgrade(t)
	c.join(t, 20)
	c.load.begun(t, 4*rate) // until the first process has closed its idle connections
	if s := b.status(t); !s.Ready || s.Revision != 2 || s.Pools[0].Pins != 1 || b.homes(t) != homes {
		t.Errorf("the new process does not know what the one before knew: %+v", s)
	}

	// A new version that does not work is no harm.
	if err := os.WriteFile(bin+".new", []byte("#!/bin/sh\necho no such library >&2\nexit 127\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(bin+".new", bin); err != nil {
		t.Fatal(err)
	}
	before := b.status(t).Started
	out, stderr, code := b.roost(t, "upgrade")
	if code != 1 || out != "" || !strings.Contains(stderr, "exit status 127") || !strings.Contains(stderr, "no such library") {
		t.Errorf("exit code %d\n%s%s", code, out, stderr)
	}
	if s := b.status(t); !s.Started.Equal(before) {
		t.Error("another process serves")
	}
	b.must(t, "nodes", "weight", "n1", "2") // changes are made as before

	install(t, roostBinary(t), bin)
	second := b.upgrade(t)
	c.join(t, 20)
	c.load.begun(t, 4*rate)
	if s := b.status(t); s.Started.Equal(before) || s.Revision != 3 {
		t.Errorf("after the second upgrade: %+v", s)
	}
	for _, pid := range []int{b.cmd.Process.Pid, first.PID, second.PID} {
		if err := syscall.Kill(pid, 0); err != nil {
			t.Errorf("process %d, which has WebSockets, is gone: %v", pid, err)
		}
	}
	if s := b.status(t); s.Listeners[0].Connections < 20 {
		t.Errorf("the last process has %d connections", s.Listeners[0].Connections)
	}
	c.disperse(t)

	// The old ones end with their last connection, and the new one goes on.
	b.awaitOld(t, 2)
	eventually(t, patience, func() string {
		if err := syscall.Kill(first.PID, 0); err == nil {
			return "the first upgrade's process is still there"
		}
		return ""
	})
	get(t, newClient(t, false), b.url("/after"))
	if err := syscall.Kill(second.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := b.wait(t, patience); code != 0 { // the first process's, whose output the last one has shared
		t.Errorf("exit code of the first process: %d", code)
	}
	if _, err := os.Lstat(filepath.Join(b.state, "roost.sock")); !os.IsNotExist(err) {
		t.Errorf("the last process left its socket: %v", err)
	}
}

// TestAnUpgradedProcessEndsAtItsDeadline leaves a WebSocket open for longer than the old process may live.
func TestAnUpgradedProcessEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	b, _ := installed(t, "--nodes", newNode(t, lounge("n")), "--upgrade-drain", "1s")
	conn := dialRoom(t, b.url("/rooms/1"))
	defer conn.CloseNow()
	u := b.upgrade(t)
	b.stderr.await(t, 1, "the deadline", func(line string) bool {
		return strings.Contains(line, "deadline after the upgrade passed") && strings.Contains(line, "1 connections cut off")
	})
	get(t, newClient(t, false), b.url("/after"))
	syscall.Kill(u.PID, syscall.SIGTERM)
	b.wait(t, patience)
}

// TestSocketsOfSystemdAreServedWithWhatWaitsInThem starts a balancer as systemd's socket activation does: by the first
// connection.
func TestSocketsOfSystemdAreServedWithWhatWaitsInThem(t *testing.T) {
	t.Parallel()
	activate := program(t, "systemd-socket-activate")
	b := &balancer{addr: freePort(t), admin: freePort(t), state: shortDir(t)}
	socket := filepath.Join(b.state, "roost.sock")
	b.child = start(t, exec.Command(activate, "-l", b.addr, "-l", b.admin, "-l", socket, "-E", "STATE_DIRECTORY="+b.state,
		roostBinary(t), "serve", "--listen", b.addr, "--admin", b.admin, "--nodes", newNode(t, lounge("n"))))
	for _, addr := range []string{b.addr, b.admin, socket} {
		b.stderr.await(t, 1, "listening", func(line string) bool { return strings.HasPrefix(line, "Listening on "+addr) })
	}
	client := newClient(t, false)
	get(t, client, b.url("/first")) // it waits in the socket until the balancer runs
	conn := dialRoom(t, b.url("/rooms/1"))
	defer conn.CloseNow()
	if lines, _, _ := b.stderr.from(0); strings.Contains(strings.Join(lines, "\n"), "inherited") {
		t.Error("not every socket was taken")
	}
	for range 2 { // the second by a process that has them from one that has them from systemd
		b.upgrade(t)
		get(t, client, b.url("/after"))
	}
	conn.CloseNow()
	b.awaitOld(t, 2)
	b.must(t, "status") // the path was not removed by those that ended
}
