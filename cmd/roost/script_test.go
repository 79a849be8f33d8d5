package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"roost/internal/api"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"roost": main})
}

// TestScript drives the program by the scripts in testdata/script. They know, beside testscript's own commands:
//
//	exits N PROGRAM ARG...   runs a program that must end with exit code N
//	ready ADDRESS            waits until the balancer with that admin address is ready
//	hold URL                 makes a request there and waits until it is at $NODE, which answers it at the next release
//	release                  lets $NODE answer what it holds, and waits until all of that came back with 200
//	upgraded                 is roost upgrade, and keeps the process that serves then
//	end                      tells that process to end
//	masked FILE              writes the output of the last command there, without what differs from run to run
//
// and these variables: $NODE, an address where a node answers; $BUSY and $TAKEN, two where others listen; $ADMIN, $FREE and
// $SPARE, free ones; $STATE_DIRECTORY and $ROOST_SOCKET, where a balancer keeps its state and is asked.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup:         setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "ready": ready, "hold": holdRequest, "release": releaseRequests,
			"masked": masked, "upgraded": upgraded, "end": end},
	})
}

func setup(e *testscript.Env) error {
	h := &holder{arrived: make(chan chan struct{})}
	node := httptest.NewServer(h)
	e.Defer(node.Close)
	e.Defer(func() { h.release() }) // what a script that failed left
	e.Values["holder"] = h
	e.Setenv("NODE", node.Listener.Addr().String())
	state, err := os.MkdirTemp("", "s") // the script's own directory may be too long for a socket's path
	if err != nil {
		return err
	}
	e.Defer(func() { os.RemoveAll(state) })
	e.Setenv("GORACE", "atexit_sleep_ms=50") // in place of a second, at the end of each of a hundred commands
	e.Setenv("STATE_DIRECTORY", state)
	e.Setenv("ROOST_SOCKET", filepath.Join(state, "roost.sock"))
	for _, name := range []string{"BUSY", "TAKEN", "ADMIN", "FREE", "SPARE"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		e.Setenv(name, ln.Addr().String())
		if name == "BUSY" || name == "TAKEN" {
			e.Defer(func() { ln.Close() })
		} else {
			defer ln.Close()
		}
	}
	return nil
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N program arg...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// holder is a node that answers at once, but /hold when it is told to.
type holder struct {
	arrived chan chan struct{} // from each request that is held, what lets it go
	held    []chan struct{}
	answers []chan string
	next    *os.Process // that an upgrade began
}

func (h *holder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/hold" {
		wait := make(chan struct{})
		h.arrived <- wait
		<-wait
	}
	fmt.Fprintln(w, "hello")
}

func (h *holder) hold(url string) error {
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get(url)
		if err != nil {
			answer <- err.Error()
			return
		}
		resp.Body.Close()
		answer <- resp.Status
	}()
	select {
	case wait := <-h.arrived:
		h.held, h.answers = append(h.held, wait), append(h.answers, answer)
		return nil
	case text := <-answer:
		return fmt.Errorf("answered before it was held: %s", text)
	}
}

func (h *holder) release() error {
	var errs []error
	for i := range h.held {
		close(h.held[i])
		if text := <-h.answers[i]; text != "200 OK" {
			errs = append(errs, errors.New(text))
		}
	}
	h.held, h.answers = nil, nil
	return errors.Join(errs...)
}

func holdRequest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hold URL")
	}
	ts.Check(ts.Value("holder").(*holder).hold(args[0]))
}

func releaseRequests(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: release")
	}
	ts.Check(ts.Value("holder").(*holder).release())
}

// differs are the parts of an output that differ from run to run. Nothing writes to it.
var differs = []struct {
	what *regexp.Regexp
	mask string
}{
	{times, `"TIME"`},
	{regexp.MustCompile(`\b(\d+\.\d+\.\d+)-[0-9a-f]{8}\b`), "$1-MEMBER"},
	{regexp.MustCompile(`"(config|digest)": "[0-9a-f]{12}"`), `"$1": "DIGEST"`},
	{regexp.MustCompile(`"(snapshot|pid)": \d+`), `"$1": 0`},
}

func masked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: masked file")
	}
	text := ts.ReadFile("stdout")
	for _, name := range []string{"NODE", "FREE", "SPARE", "ADMIN", "STATE_DIRECTORY", "WORK"} {
		text = strings.ReplaceAll(text, ts.Getenv(name), "$"+name)
	}
	text = strings.ReplaceAll(text, strconv.Quote(version()), `"devel"`) // a build may know its version
	for _, d := range differs {
		text = d.what.ReplaceAllString(text, d.mask)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

func upgraded(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: upgraded")
	}
	ts.Check(ts.Exec("roost", "upgrade", "-o", "json"))
	var u api.Upgrade
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &u))
	p, err := os.FindProcess(u.PID)
	ts.Check(err)
	ts.Value("holder").(*holder).next = p
	ts.Defer(func() { p.Kill() }) // it holds the output of the one before it, whose end is waited for
}

func end(ts *testscript.TestScript, neg bool, args []string) {
	p := ts.Value("holder").(*holder).next
	if neg || len(args) > 0 || p == nil {
		ts.Fatalf("usage: end, after upgraded")
	}
	ts.Check(p.Signal(os.Interrupt))
}

// readyLimit is far beyond what a start takes.
const readyLimit = 20 * time.Second

func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready address")
	}
	client := &http.Client{Timeout: readyLimit}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(readyLimit); ; {
		resp, err := client.Get("http://" + args[0] + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			err = errors.New(resp.Status)
		}
		select {
		case <-tick.C:
		case <-end:
			ts.Fatalf("not ready after %v: %v", readyLimit, err)
		}
	}
}
