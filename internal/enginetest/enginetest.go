// Package enginetest is the contract of an engine as tests, for every engine to run: through real sockets, from clients
// and nodes that know the protocols by themselves.
//
// Guarantee: an engine that passes answers, refuses, retries, reloads, retires and drains as the others do, to the byte
// where bytes matter.
//
// Trap: what an engine is made of (its buffers, its idle connections, its clocks) is not seen from here; each engine tests
// that itself, with the same proxy and nodes.
package enginetest

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"roost"
)

// Engine is what the contract is about.
type Engine interface {
	Serve(ctx context.Context, ln net.Listener, id roost.ListenerID, conf func() *tls.Config) error
	Retire(id roost.ListenerID)
	Drain(ctx context.Context) error
	HandOver(ctx context.Context) error
	Connections(id roost.ListenerID) int64

	// Upkeep does what the engine else does from time to time, as of now.
	Upkeep(now time.Time)
	// OnDial has f called before each attempt to connect to a node, which waits for it.
	OnDial(f func())
	// Stop ends what is left when each Serve has returned, and tells t what then should not be: bugs that the engine met,
	// and what it still holds.
	Stop(t testing.TB)
}

// Options are what an engine is given.
type Options struct {
	Snapshot *atomic.Pointer[roost.Snapshot]
	Record   func(*roost.Record)
	Log      *slog.Logger
}

// Open makes an engine.
type Open func(testing.TB, Options) Engine

// Run tests the engines that open makes.
func Run(t *testing.T, open Open) {
	contract := reflect.ValueOf(subject{open})
	for i := range contract.NumMethod() {
		t.Run(contract.Type().Method(i).Name, contract.Method(i).Interface().(func(*testing.T)))
	}
}

// subject is the engine under test. Its exported methods are the contract.
type subject struct{ open Open }

func (engine subject) start(t testing.TB, change func(*Setup), nodes ...string) *Proxy {
	t.Helper()
	return Start(t, engine.open, change, nodes...)
}
