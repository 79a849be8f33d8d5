package demo

import (
	"container/list"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// node runs functions: the first call of one waits for its cold start, as do the calls that come in meanwhile; then it
// is warm, until it was not called for longest and the node needs its place.
type node struct {
	name     string
	index    int
	cold     time.Duration
	capacity int
	ledger   *ledger
	start    time.Time
	ln       net.Listener
	kill     func() error // closes the listener and every connection; further calls do nothing

	mu  sync.Mutex // guards what follows
	fns map[int]*list.Element
	lru *list.List // of *instance, the last called in front
}

// instance is a function on a node.
type instance struct {
	fn    int
	ready time.Time
}

// serviceTime is how long a warm call takes: a short function's. It keeps calls in flight, as real ones are.
const serviceTime = time.Millisecond

func startNode(i int, o Options, l *ledger) (*node, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a node: %w", err)
	}
	n := &node{name: nodeName(i), index: i, cold: o.Cold, capacity: o.Capacity, ledger: l, start: time.Now(), ln: ln,
		fns: map[int]*list.Element{}, lru: list.New()}
	n.kill = serveHTTP(ln, n)
	return n, nil
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i+1) }

func (n *node) addr() string { return n.ln.Addr().String() }

// warm counts the functions that are on the node.
func (n *node) warm() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lru.Len()
}

const pathPrefix = "/r/demo/"

// path is what a function is called by; its last part is also its answer.
func path(fn int) string { return pathPrefix + strconv.Itoa(fn) }

// ServeHTTP is one call of a function.
func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, pathPrefix)
	fn, err := strconv.Atoi(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	took := time.NewTimer(time.Until(n.call(fn)) + serviceTime)
	defer took.Stop()
	select {
	case <-took.C:
		io.WriteString(w, name)
	case <-r.Context().Done():
	}
}

// call brings a function to the node if it is not there, and returns when it is ready.
func (n *node) call(fn int) (ready time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, warm := n.fns[fn]
	if warm {
		n.lru.MoveToFront(e)
	} else {
		e = n.lru.PushFront(&instance{fn, time.Now().Add(n.cold)})
		n.fns[fn] = e
		if n.lru.Len() > n.capacity {
			delete(n.fns, n.lru.Remove(n.lru.Back()).(*instance).fn)
		}
	}
	n.ledger.called(fn, n.index, !warm)
	return e.Value.(*instance).ready
}

// discard is for servers whose clients and connections end in the middle, on purpose.
var discard = log.New(io.Discard, "", 0)
