package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nodeEnv, when set, makes the test binary a node of that name.
const nodeEnv = "ROOST_E2E_NODE"

// newServer speaks HTTP/1.1 and HTTP/2 with prior knowledge, as nodes do.
func newServer(h http.Handler) *http.Server {
	s := &http.Server{Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: patience}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}

// newNode runs a node inside the test and returns its address.
func newNode(t testing.TB, h http.Handler) string {
	t.Helper()
	ln := listenOn(t, "127.0.0.1:0")
	serveNode(t, ln, h)
	return ln.Addr().String()
}

func serveNode(t testing.TB, ln net.Listener, h http.Handler) {
	s := newServer(h)
	done := make(chan struct{})
	go func() { // ends with the test
		defer close(done)
		s.Serve(ln)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
}

// nodeList names the nodes n1, n2, ... for --nodes.
func nodeList(addrs ...string) string {
	var b strings.Builder
	for i, a := range addrs {
		fmt.Fprintf(&b, ",n%d=%s", i+1, a)
	}
	return b.String()[1:]
}

// echoes runs n nodes that echo, named n1, n2, ...
func echoes(t testing.TB, n int) (addrs []string) {
	t.Helper()
	for i := range n {
		addrs = append(addrs, newNode(t, echo(fmt.Sprintf("n%d", i+1))))
	}
	return addrs
}

// echo answers a body with the body, and a request without one with its target. The field Node carries its name. The
// query ms=N delays the answer.
func echo(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if d, err := time.ParseDuration(r.URL.Query().Get("ms") + "ms"); err == nil {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
			}
		}
		if len(body) == 0 {
			body = []byte(r.RequestURI)
		}
		w.Header().Set("Node", name)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body)
	})
}

// seen is what a node got, as inspect answers it.
type seen struct {
	Node, Proto, Method, Target, Host string
	Header, Trailer                   http.Header
	Length                            int64    // declared; -1: chunked or by HTTP/2 frames
	Coding                            []string // transfer codings
	Bytes                             int64
	Sum                               uint32 // CRC-32C of the body
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// inspect answers with what it got, as JSON.
func inspect(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := crc32.New(castagnoli)
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(seen{Node: name, Proto: r.Proto, Method: r.Method, Target: r.RequestURI, Host: r.Host,
			Header: r.Header, Trailer: r.Trailer, Length: r.ContentLength, Coding: r.TransferEncoding, Bytes: n, Sum: sum.Sum32()})
	})
}

// process is a node that is a program of its own, so that it can be killed.
type process struct {
	*child
	name, addr string
}

// startProcess starts this test binary as a node at addr, which may have port 0. It is bound before it returns.
func startProcess(t testing.TB, name, addr string) *process {
	t.Helper()
	ln := listenOn(t, addr)
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), nodeEnv+"="+name)
	cmd.ExtraFiles = []*os.File{file}
	p := &process{child: start(t, cmd), name: name, addr: ln.Addr().String()}
	// The socket must be the child's alone, or it would go on listening after the child's death.
	file.Close()
	ln.Close()
	p.stdout.await(t, 1, "serving", func(line string) bool { return line == "serving" })
	return p
}

// nodeMain is such a program: it serves the listener that it inherits as file 3 until it is told to end.
func nodeMain(name string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "inherit the listener:", err)
		return 1
	}
	s := newServer(echo(name))
	context.AfterFunc(ctx, func() { s.Close() })
	fmt.Println("serving")
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
