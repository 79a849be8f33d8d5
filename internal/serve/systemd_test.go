package serve

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// manager is a service manager that is told things. Without a message within patience the test fails.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func manage(t *testing.T) *manager {
	t.Helper()
	path := state(t) + "/notify"
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &manager{t, conn}
}

func (m *manager) next() string {
	m.t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1024)
	n, err := m.conn.Read(b)
	if err != nil {
		m.t.Fatalf("the service manager was told nothing: %v", err)
	}
	return string(b[:n])
}

// told demands that the next message begins so.
func (m *manager) told(want string) {
	m.t.Helper()
	if got := m.next(); !strings.HasPrefix(got, want) {
		m.t.Errorf("the service manager was told %q, not %q", got, want)
	}
}

func TestTheServiceManagerIsToldOfStartReloadsAndEnd(t *testing.T) {
	m := manage(t)
	node, _ := echo(t, "n")
	h := build(t, fmt.Sprintf(onePool, node), houseOptions{})
	m.told("READY=1")
	h.Reload(t.Context(), "api", true) // which changes nothing, and is not told
	h.reloaded()
	m.told("RELOADING=1\nMONOTONIC_USEC=")
	m.told("READY=1")
	h.write("pools: {")
	h.Reload(t.Context(), BySignal, false)
	m.told("RELOADING=1")
	m.told("READY=1") // or it would wait for ever
	if err := h.end(); err != nil {
		t.Fatal(err)
	}
	m.told("STOPPING=1")
}
