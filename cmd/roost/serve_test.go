package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// lines is a standard error that a test can wait for.
type lines struct {
	t     *testing.T
	mu    sync.Mutex // guards the two below
	text  bytes.Buffer
	fresh chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	l.t.Output().Write(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	close(l.fresh)
	l.fresh = make(chan struct{})
	return len(b), nil
}

func (l *lines) await(want string) []string {
	l.t.Helper()
	re := regexp.MustCompile(want)
	for limit := time.After(20 * time.Second); ; {
		l.mu.Lock()
		found, fresh := re.FindStringSubmatch(l.text.String()), l.fresh
		l.mu.Unlock()
		if found != nil {
			return found
		}
		select {
		case <-fresh:
		case <-limit:
			l.t.Fatalf("standard error never says %q", want)
		}
	}
}

func TestSignalsReloadReopenTheLogAndCutADrainShort(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			close(arrived)
			<-release
		}
	}))
	defer node.Close()
	defer close(release)
	dir := t.TempDir()
	file, log := filepath.Join(dir, "roost.yaml"), filepath.Join(dir, "access.log")
	write := func(pool string) {
		t.Helper()
		text := fmt.Sprintf("state: off\nadmin: off\nlisteners: { web: { address: \"127.0.0.1:0\" } }\nlog: { access: access.log }\npools: { fn: { %s } }\n", pool)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("nodes: [ " + strings.TrimPrefix(node.URL, "http://") + " ]")
	stderr := &lines{t: t, fresh: make(chan struct{})}
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM) // as main does
	defer stop()
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"serve", "-c", file, "--drain", "15s"}, io.Discard, stderr) }()
	addr := stderr.await(`msg=listening listener=web address=(\S+)`)[1]
	send := func(s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
	}

	send(syscall.SIGHUP)
	stderr.await(`msg=reloaded by=signal`)
	write("noodles: [ a ]")
	stderr.await(`msg="reload failed; .* by=file`)
	send(syscall.SIGHUP)
	stderr.await(`msg="reload failed; .* by=signal`)

	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	send(syscall.SIGUSR1)
	stderr.await(`msg="access log reopened" file=` + regexp.QuoteMeta(log))

	failed := make(chan error, 1)
	go func() {
		_, err := http.Get("http://" + addr + "/hold")
		failed <- err
	}()
	<-arrived
	send(syscall.SIGTERM)
	stderr.await(`msg=draining`)
	send(syscall.SIGTERM)
	if c := <-code; c != exitFail {
		t.Errorf("exit code %d", c)
	}
	if err := <-failed; err == nil {
		t.Error("the request that was cut off was answered")
	}
	stderr.await(`drain deadline passed`)
}

func TestABalancerOutlivesWhoeverReadItsLog(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(self, "serve", "--listen", "127.0.0.1:0", "--nodes", "127.0.0.1:1", "--state", "off", "--admin", "off")
	cmd.Args[0], cmd.Stderr = "roost", w // see TestMain
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() // fails when it has ended
	w.Close()
	stderr := bufio.NewScanner(r)
	for addr := regexp.MustCompile(`msg=listening listener=web address=`); stderr.Scan() && !addr.Match(stderr.Bytes()); {
	}
	r.Close()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil { // which it tells
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
