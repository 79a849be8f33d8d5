package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"roost": main})
}

// TestScript drives the program by the scripts in testdata/script. They know, beside testscript's own commands:
//
//	exits N PROGRAM ARG...   runs a program that must end with exit code N
//	ready ADDRESS            waits until the balancer with that admin address is ready
//
// and these variables: $NODE, an address where a node answers; $BUSY and $TAKEN, two where others listen; $ADMIN and $FREE, free ones.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup:         setup,
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "ready": ready},
	})
}

func setup(e *testscript.Env) error {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") }))
	e.Defer(node.Close)
	e.Setenv("NODE", node.Listener.Addr().String())
	e.Setenv("STATE_DIRECTORY", filepath.Join(e.WorkDir, "state"))
	for _, name := range []string{"BUSY", "TAKEN", "ADMIN", "FREE"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		e.Setenv(name, ln.Addr().String())
		if name == "ADMIN" || name == "FREE" {
			defer ln.Close()
		} else {
			e.Defer(func() { ln.Close() })
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
