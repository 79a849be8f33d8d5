package upgrade

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limit ends a test that waits for a process in vain.
const limit = 30 * time.Second

// attempt starts a child in a role.
func attempt(t *testing.T, play string, timeout time.Duration) (*Child, error) {
	t.Helper()
	return Start(t.Context(), Options{Env: []string{role + "=" + play}, Timeout: timeout})
}

func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "roost")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAChildThatIsNotReadyIsAnErrorThatSaysWhy(t *testing.T) {
	for play, want := range map[string]string{
		"says why":          "roost.yaml:3:5: unknown setting",
		"exits":             "it ended before it was ready: exit status 1; its last words:\nfirst line\nno room on the device",
		"panics":            "panic: a broken invariant",
		"babbles":           "it reports what is not understood",
		"is ready and dies": "it ended when it was ready",
	} {
		t.Run(play, func(t *testing.T) {
			_, err := attempt(t, play, limit)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
			if strings.Contains(fmt.Sprint(err), "not this") {
				t.Errorf("the error repeats what the child said already: %v", err)
			}
			noChildren(t)
		})
	}
}

// noChildren fails when this process has a child, running or dead.
func noChildren(t *testing.T) {
	t.Helper()
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
}

func TestWhatCannotBeRunIsAnError(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("just words"), 0o700); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(dir, "locked")
	if err := os.WriteFile(locked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file or directory",
		dir:                        "permission denied",
		locked:                     "permission denied",
		text:                       "exec format error",
		script(t, "exit 0"):        "it ended before it was ready: exit status 0",
		script(t, "echo what is ROOST >&2; exit 7"): "exit status 7; its last words:\nwhat is ROOST",
	} {
		_, err := Start(t.Context(), Options{Path: path, Timeout: limit})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("error %q does not say %q and the path", err, want)
		}
	}
	noChildren(t)
}

func TestOnlyTheLastLinesOfALoudChildAreKept(t *testing.T) {
	_, err := attempt(t, "is loud", limit)
	_, words, _ := strings.Cut(fmt.Sprint(err), "last words:\n")
	lines := strings.Split(words, "\n")
	if n := len(lines); n < 3 || lines[n-1] != "the end of it" || lines[n-2] != "line 1999" || !strings.HasPrefix(lines[0], "line 1") {
		t.Errorf("kept %.100q...", words)
	}
	if len(words) > maxSaid {
		t.Errorf("kept %d bytes", len(words))
	}
}

func TestAChildThatHangsIsKilledInTime(t *testing.T) {
	_, err := attempt(t, "hangs", 200*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "it was not ready after 200ms") {
		t.Errorf("error %v", err)
	}
	noChildren(t)
}

func TestTheEndOfTheContextEndsAChildThatIsNotReady(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ready := filepath.Join(t.TempDir(), "started")
	if err := syscall.Mkfifo(ready, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := Start(ctx, Options{Path: script(t, "echo > "+ready+"; exec sleep 1000"), Timeout: limit})
		done <- err
	}()
	if _, err := os.ReadFile(ready); err != nil { // waits for the script
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	noChildren(t)
}

// What a wrapper started is killed with it, though it is no child of ours.
func TestWhatAWrapperStartedIsNotLeftBehind(t *testing.T) {
	life := filepath.Join(t.TempDir(), "life")
	if err := syscall.Mkfifo(life, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := Start(t.Context(), Options{Path: script(t, "sleep 1000 > "+life+" & wait"), Timeout: time.Second})
		done <- err
	}()
	// The pipe ends when nobody holds its other end any more.
	if _, err := os.ReadFile(life); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

func TestAChildThatCrashesOnceItServesIsNoticed(t *testing.T) {
	c, err := attempt(t, "serves and crashes", limit)
	if err != nil {
		t.Fatal(err)
	}
	if c.Version != "2" || c.PID <= 0 || c.PID == os.Getpid() {
		t.Errorf("child %+v", c)
	}
	<-c.Ended()
	if exit, ok := errors.AsType[*exec.ExitError](c.Err()); !ok || exit.ExitCode() != 1 {
		t.Errorf("ended with %v", c.Err())
	}
	noChildren(t)
}

func TestTheChildRunsWithOurArgumentsOrOthersAndItsEnvironmentIsClean(t *testing.T) {
	for _, args := range [][]string{nil, {"serve", "-c", "other.yaml"}, {}} {
		_, err := Start(t.Context(), Options{Args: args, Env: []string{role + "=looks around"}, Timeout: limit})
		if args == nil {
			args = os.Args[1:]
		}
		want := fmt.Sprintf("%s=\"\" %v", Variable, append([]string{os.Args[0]}, args...))
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestTheBinaryIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	image := func() (string, error) { return file("image"), nil }
	v1, v2, link := file("roost-1"), file("roost-2"), filepath.Join(dir, "roost")
	for _, to := range []string{v1, v2} {
		os.Remove(link)
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
		if got, err := binary(link, image); err != nil || got != link {
			t.Errorf("%s, %v, want the link, whatever it leads to", got, err)
		}
	}
	t.Setenv("PATH", dir)
	for called, want := range map[string]string{
		"roost":                   link,
		"-a name of fancy":        filepath.Join(dir, "image"),
		filepath.Join(dir, "old"): filepath.Join(dir, "image"), // it was moved away
	} {
		if got, err := binary(called, image); err != nil || got != want {
			t.Errorf("called as %q: %s, %v, want %s", called, got, err, want)
		}
	}
	if _, err := binary("none", func() (string, error) { return "", errors.New("no /proc") }); err == nil {
		t.Error("no error")
	}
}

func TestAParentIsBelievedOnlyWhereItsPipesAre(t *testing.T) {
	other, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	fd := other.Fd()
	for _, text := range []string{"", "x", "{}", `{"report":1,"answer":2,"stderr":0}`, `{"report":900,"answer":901,"stderr":902}`,
		`{"report":-3,"answer":-4,"stderr":-5}`, fmt.Sprintf(`{"report":%d,"answer":%d,"stderr":%d}`, fd, fd, fd)} {
		t.Setenv(Variable, text)
		if p := FromParent(); p != nil {
			t.Errorf("%s: a parent", text)
		}
		if left, ok := os.LookupEnv(Variable); ok {
			t.Errorf("%s: %q is left in the environment", text, left)
		}
	}
	var none *Parent
	none.Fail(errors.New("nobody hears it"))
	if err := none.Ready("1"); err != nil {
		t.Error(err)
	}
}

// A child beyond the reach of a signal must be told; one whose parent died must go on.
func TestAReadyChildObeysItsParentsWord(t *testing.T) {
	for word, want := range map[string]error{wordServe: nil, wordStop: errGivenUp, "": nil, "serv": errGivenUp} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_, report, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		w.WriteString(word)
		w.Close()
		stderr, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		mine, err := syscall.Dup(2)
		if err != nil {
			t.Fatal(err)
		}
		err = (&Parent{report: report, answer: r, stderr: stderr}).Ready("1")
		if back := become(os.NewFile(uintptr(mine), "stderr")); back != nil {
			t.Fatal(back)
		}
		if !errors.Is(err, want) {
			t.Errorf("word %q: %v, want %v", word, err, want)
		}
	}
}

func TestAChildWritesToOurStandardErrorAfterWeAreGone(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), role+"=has its orphan write")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := cmd.Process.Release(); err != nil { // Wait would close the pipe that is the orphan's standard input
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, 0, nil); err != nil && !errors.Is(err, syscall.EINTR) {
		t.Fatal(err)
	}
	stdin.Close() // now it writes
	text, err := io.ReadAll(r)
	if err != nil || string(text) != "still here\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// generation is a serving process, known by a connection to it.
type generation struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Scanner
	pid  string
}

func dial(t *testing.T, network, address string) *generation {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(limit))
	g := &generation{t: t, conn: conn, in: bufio.NewScanner(conn)}
	g.pid = g.line()
	return g
}

func (g *generation) line() string {
	g.t.Helper()
	if !g.in.Scan() {
		g.t.Fatalf("the connection ended: %v", g.in.Err())
	}
	return g.in.Text()
}

func (g *generation) say(command string) string {
	g.t.Helper()
	if _, err := fmt.Fprintln(g.conn, command); err != nil {
		g.t.Fatal(err)
	}
	return g.line()
}

// end closes the connection, and returns when the process closed it as well.
func (g *generation) end() {
	g.conn.(interface{ CloseWrite() error }).CloseWrite()
	io.Copy(io.Discard, g.conn)
	g.conn.Close()
}

// first starts the first generation on a port and a unix socket.
func first(t *testing.T) (tcp, socket string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp = free.Addr().String()
	free.Close()
	dir, err := os.MkdirTemp("", "roost")
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	c, err := Start(t.Context(), Options{Env: []string{role + "=serves", addresses + "=" + tcp + " unix:" + socket}, Timeout: limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn, err := net.Dial("tcp", tcp)
		if err == nil {
			fmt.Fprintln(conn, "end")
			conn.Close()
		}
		<-c.Ended()
		os.RemoveAll(dir)
	})
	return tcp, socket
}

func TestThreeGenerationsServeAtOnceAndOneAccepts(t *testing.T) {
	tcp, socket := first(t)
	var old []*generation
	for range 3 {
		g := dial(t, "tcp", tcp)
		for _, o := range old {
			if o.pid == g.pid {
				t.Errorf("process %s accepts after it was replaced", g.pid)
			}
		}
		if pid := g.say("upgrade"); pid == g.pid || strings.ContainsFunc(pid, func(r rune) bool { return r < '0' || r > '9' }) {
			t.Fatalf("upgraded to %q", pid)
		}
		old = append(old, g)
	}
	for i, g := range old { // all live on, the oldest as well
		if got := g.say("hello"); got != "hello" {
			t.Errorf("generation %d: %q", i, got)
		}
	}
	now := dial(t, "unix", socket)
	for _, g := range old {
		g.end()
	}
	for range 10 {
		if g := dial(t, "unix", socket); g.pid != now.pid {
			t.Errorf("process %s accepts, want %s", g.pid, now.pid)
		}
	}
	// The path stayed while any process closed its socket; the last one removes it.
	if _, err := fmt.Fprintln(dial(t, "unix", socket).conn, "end"); err != nil {
		t.Fatal(err)
	}
	now.end()
	waitFor(t, func() bool { _, err := os.Lstat(socket); return os.IsNotExist(err) })
}

// waitFor asks until it is so.
func waitFor(t *testing.T, so func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !so(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it never came to be")
		}
	}
}

func TestNoConnectionIsRefusedOrDroppedDuringTwentyUpgrades(t *testing.T) {
	const upgrades = 20
	tcp, socket := first(t)
	stop := make(chan struct{})
	faults := make(chan error, 2)
	served := make([]map[string]int, 2)
	for i, to := range [][2]string{{"tcp", tcp}, {"unix", socket}} {
		served[i] = map[string]int{}
		go func() { faults <- knock(to[0], to[1], stop, served[i]) }()
	}
	pids := map[string]bool{}
	for range upgrades {
		g := dial(t, "tcp", tcp)
		g.say("upgrade")
		pids[g.pid] = true
		g.end()
	}
	close(stop)
	for range served {
		if err := <-faults; err != nil {
			t.Error(err)
		}
	}
	if len(pids) != upgrades {
		t.Errorf("%d processes were upgraded, want %d", len(pids), upgrades)
	}
	for i, by := range served {
		n := 0
		for _, c := range by {
			n += c
		}
		t.Logf("client %d: %d connections to %d processes", i, n, len(by))
		if len(by) < upgrades/2 {
			t.Errorf("client %d met %d processes only: it proves nothing", i, len(by))
		}
	}
}

// knock opens connections one after the other until stop, and counts who answered.
func knock(network, address string, stop <-chan struct{}, by map[string]int) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		conn, err := net.Dial(network, address)
		if err != nil {
			return fmt.Errorf("refused: %w", err)
		}
		conn.SetDeadline(time.Now().Add(limit))
		pid, err := bufio.NewReader(conn).ReadString('\n')
		conn.Close()
		if err != nil {
			return fmt.Errorf("dropped: %w", err)
		}
		by[strings.TrimSpace(pid)]++
	}
}

func TestAnUpgradeThatFailsLeavesTheProcessAsItWas(t *testing.T) {
	tcp, socket := first(t)
	g := dial(t, "tcp", tcp)
	for env, want := range map[string]string{
		role + "=exits":       "no room on the device",
		role + "=says why":    "unknown setting",
		role + "=hangs":       "it was not ready after 500ms",
		addresses + "=" + tcp: "are not asked for", // this one has inherited the unix socket, and closes it
	} {
		if got := g.say("upgrade " + env); !strings.Contains(got, want) {
			t.Errorf("%s: %q does not say %q", env, got, want)
		}
		for range 10 {
			if pid := dial(t, "tcp", tcp).pid; pid != g.pid {
				t.Errorf("%s: process %s accepts, want %s", env, pid, g.pid)
			}
			if pid := dial(t, "unix", socket).pid; pid != g.pid {
				t.Errorf("%s: process %s accepts, want %s", env, pid, g.pid)
			}
		}
	}
	if pid := g.say("upgrade"); dial(t, "unix", socket).pid != pid {
		t.Error("the upgrade after them all failed")
	}
}
