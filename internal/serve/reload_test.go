package serve

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"roost"
	"roost/internal/api"
)

// reloaded reloads and demands that it went well.
func (h *house) reloaded() api.Reload {
	h.t.Helper()
	r := h.Reload(h.t.Context(), "api", false)
	if !r.OK {
		h.t.Fatalf("reload: %+v", r.Errors)
	}
	return r
}

func TestConnectionsLiveThroughAReloadThatRenamesAndReordersTheirListener(t *testing.T) {
	node, release := echo(t, "n")
	a, b := freeAddr(t), freeAddr(t)
	h := build(t, fmt.Sprintf(`
listeners: { one: { address: %q }, two: { address: %q } }
pools: { fn: { nodes: [ %s ] } }
`, a, b, node), houseOptions{})
	idle, busy, tunnel := dial(t, a), dial(t, a), dial(t, b)
	idle.get("/x")
	busy.ask("/slow")
	h.await("the request is at its node", func(s roost.Status) bool { return s.Pools[0].InFlight == 1 })
	tunnel.upgrade("/ws")

	other, _ := echo(t, "other")
	h.write(fmt.Sprintf(`
listeners: { second: { address: %q }, first: { address: %q, limits: { connections: 50 } } }
pools: { renamed: { nodes: [ %s ] } }
`, b, a, other))
	r := h.reloaded()
	for _, want := range []string{"name one → first", "name two → second", "limits.connections 10000 → 50", "pool renamed: added", "pool fn: removed"} {
		if !strings.Contains(strings.Join(r.Changes, "\n"), want) {
			t.Errorf("the changes do not say %q: %q", want, r.Changes)
		}
	}
	if body, closes := idle.get("/y"); body != "other /y" || closes {
		t.Errorf("the idle connection: %q, closes %v", body, closes)
	}
	if err := tunnel.echoes(); err != nil {
		t.Errorf("the tunnel: %v", err)
	}
	release()
	if body, closes := busy.answer(); body != "n /slow" || closes {
		t.Errorf("the request in flight: %q, closes %v", body, closes)
	}
	s := h.Status()
	if len(s.Listeners) != 2 || s.Listeners[0].Name != "second" || s.Listeners[0].Address != b || s.Listeners[0].Connections != 1 {
		t.Errorf("listeners: %+v", s.Listeners)
	}
	if s.Reload.By != "api" || !s.Reload.OK {
		t.Errorf("the last reload: %+v", s.Reload)
	}
}

func TestARemovedListenerRefusesNewConnectionsAndFinishesItsOwn(t *testing.T) {
	node, _ := echo(t, "n")
	a, b := freeAddr(t), freeAddr(t)
	both := fmt.Sprintf(`
listeners: { one: { address: %q }, two: { address: %q } }
pools: { fn: { nodes: [ %s ] } }
`, a, b, node)
	h := build(t, both, houseOptions{})
	stays, idle, tunnel := dial(t, a), dial(t, b), dial(t, b)
	stays.get("/x")
	idle.get("/x")
	tunnel.upgrade("/ws")

	h.write(fmt.Sprintf(`
listeners: { one: { address: %q } }
pools: { fn: { nodes: [ %s ] } }
`, a, node))
	h.reloaded()
	refused(t, b)
	if err := tunnel.echoes(); err != nil {
		t.Errorf("the tunnel: %v", err)
	}
	if err := idle.ended(); err != nil {
		t.Errorf("the idle connection: %v", err)
	}
	s := h.await("only the tunnel is left", func(s roost.Status) bool { return s.Listeners[1].Connections == 1 })
	if l := s.Listeners[1]; l.Name != "two" || !l.Retired {
		t.Errorf("the retired listener: %+v", l)
	}

	// Its address may come back while the tunnel still lives.
	h.write(both)
	h.reloaded()
	if body, _ := dial(t, b).get("/again"); body != "n /again" {
		t.Errorf("the address that came back: %q", body)
	}
	if err := tunnel.echoes(); err != nil {
		t.Errorf("the tunnel: %v", err)
	}
	tunnel.Close()
	h.await("the retired listener is forgotten", func(s roost.Status) bool { return len(s.Listeners) == 2 && !s.Listeners[1].Retired })
	if body, closes := stays.get("/y"); body != "n /y" || closes {
		t.Errorf("the other listener's connection: %q, closes %v", body, closes)
	}
}

func TestABroaderAddressReplacesANarrowerOneOfTheSamePort(t *testing.T) {
	node, _ := echo(t, "n")
	a := freeAddr(t)
	_, port, _ := net.SplitHostPort(a)
	conf := func(address string) string {
		return fmt.Sprintf("listeners: { web: { address: %q } }\npools: { fn: { nodes: [ %s ] } }\n", address, node)
	}
	h := build(t, conf(a), houseOptions{})
	tunnel := dial(t, a)
	tunnel.upgrade("/ws")
	for _, address := range []string{":" + port, a, "[::]:" + port, "0.0.0.0:" + port} {
		h.write(conf(address))
		h.reloaded()
		if body, _ := dial(t, a).get("/x"); body != "n /x" {
			t.Errorf("%s: %q", address, body)
		}
	}
	if err := tunnel.echoes(); err != nil {
		t.Error(err)
	}
}

func TestABadFileChangesNothingAndIsToldEverywhereWithItsPlaces(t *testing.T) {
	node, _ := echo(t, "n")
	h := build(t, fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\n", node), houseOptions{})
	before := h.Status()
	conn := dial(t, h.addr("web"))
	conn.get("/x")

	h.write("listeners:\n  web: { adress: \":1\" }\npools:\n  fn: { nodes: [ a ], homes: 99 }\n")
	at := len(h.log.String())
	r := h.Reload(t.Context(), "api", false)
	if r.OK || len(r.Errors) != 3 || r.Digest != before.Config || len(r.Changes) != 0 {
		t.Fatalf("reload: %+v", r)
	}
	for i, want := range []struct {
		line int
		text string
	}{{2, "adress"}, {4, "a"}, {4, "99"}} {
		e := r.Errors[i]
		if e.Line != want.line || e.Column == 0 || e.File != h.file || !strings.Contains(e.Message, want.text) {
			t.Errorf("mistake %d: %+v", i, e)
		}
		h.log.await(at, fmt.Sprintf("at=%s:%d:%d", h.file, e.Line, e.Column))
	}
	h.log.await(at, `reload failed; the configuration before stays in use`)
	s := h.Status()
	if s.Config != before.Config || s.Snapshot < before.Snapshot || s.Reload.OK || s.Reload.By != "api" || !slices.Equal(s.Reload.Errors, r.Errors) {
		t.Errorf("status: %+v", s.Reload)
	}
	if body, _ := conn.get("/y"); body != "n /y" {
		t.Errorf("traffic: %q", body)
	}
}

func TestAReloadThatCannotBeDoneLeavesNothingBehind(t *testing.T) {
	node, _ := echo(t, "n")
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	old, fresh := freeAddr(t), freeAddr(t)
	h := build(t, fmt.Sprintf("listeners: { web: { address: %q } }\npools: { fn: { nodes: [ %s ] } }\n", old, node), houseOptions{})
	h.write(fmt.Sprintf("listeners: { new: { address: %q }, taken: { address: %q } }\npools: { fn: { nodes: [ %s ] } }\n", fresh, busy.Addr(), node))
	for range 2 { // what the first left open would be in the way of the second
		r := h.Reload(t.Context(), "api", false)
		if r.OK || len(r.Errors) != 1 || r.Errors[0].Path != "listeners.taken.address" || !strings.Contains(r.Errors[0].Message, "already in use") {
			t.Fatalf("reload: %+v", r)
		}
		refused(t, fresh)
	}
	if body, _ := dial(t, old).get("/x"); body != "n /x" {
		t.Errorf("traffic: %q", body)
	}
	busy.Close()
	h.reloaded()
	if body, _ := dial(t, fresh).get("/x"); body != "n /x" {
		t.Errorf("after the port was free: %q", body)
	}
	refused(t, old)
}

func TestWhatNeedsARestartIsRefusedWithTheReason(t *testing.T) {
	node, _ := echo(t, "n")
	h := build(t, fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\n", node), houseOptions{})
	h.write(fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\nstate: %s\nadmin: off\n", node, t.TempDir()))
	r := h.Reload(t.Context(), "api", false)
	if r.OK || len(r.Errors) != 2 || r.Errors[0].Path != "state" || r.Errors[1].Path != "store" || r.Errors[0].Code != codeRestart ||
		!strings.Contains(r.Errors[0].Fix, "roost upgrade") || r.Errors[0].File != h.file {
		t.Errorf("reload: %+v", r)
	}
}

func TestADryReloadSaysWhatWouldChangeAndChangesNothing(t *testing.T) {
	node, _ := echo(t, "n")
	conf := "listeners: { web: { address: %q } }\npools: { fn: { nodes: [ %s ] } }\n"
	a, b := freeAddr(t), freeAddr(t)
	h := build(t, fmt.Sprintf(conf, a, node), houseOptions{})
	before := h.Status()
	h.write(fmt.Sprintf(conf, b, node))
	r := h.Reload(t.Context(), "api", true)
	if want := []string{"listener " + b + ": added", "listener " + a + ": removed"}; !r.OK || !slices.Contains(r.Changes, want[0]) || !slices.Contains(r.Changes, want[1]) {
		t.Errorf("dry run: %+v", r)
	}
	after := h.Status()
	if after.Config != before.Config || after.Reload.By != before.Reload.By || r.Digest != before.Config {
		t.Errorf("it changed %+v to %+v", before, after)
	}
	refused(t, b)
}

func TestAConfigurationFromFlagsHasNothingToReload(t *testing.T) {
	node, _ := echo(t, "n")
	h := build(t, fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\n", node),
		houseOptions{before: func(b *Balancer) { b.o.Load = nil }})
	if r := h.Reload(t.Context(), BySignal, false); r.OK || r.Errors[0].Code != codeNoFile {
		t.Errorf("reload: %+v", r)
	}
}

func TestTheAccessLogMovesToAnotherFileWithoutLosingLines(t *testing.T) {
	node, _ := echo(t, "n")
	dir := t.TempDir()
	conf := func(file string) string {
		return fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\nlog: { access: %s }\n", node, file)
	}
	one, two := filepath.Join(dir, "one.log"), filepath.Join(dir, "two.log")
	h := build(t, conf(one), houseOptions{})
	conn := dial(t, h.addr("web"))
	conn.get("/before")
	conn.get("/between") // now the first one's line is written; this one's may come in either file
	h.write(conf(two))
	h.reloaded()
	conn.get("/after")
	conn.Close()
	if err := h.end(); err != nil {
		t.Fatal(err)
	}
	first, err1 := os.ReadFile(one)
	second, err2 := os.ReadFile(two)
	if err1 != nil || err2 != nil || !strings.Contains(string(first), `"/before"`) || !strings.Contains(string(second), `"/after"`) ||
		strings.Count(string(first)+string(second), "\n") != 3 {
		t.Errorf("%v %v\n%s\n%s", err1, err2, first, second)
	}
}

func TestLevelAndFormatOfTheLogFollowAReload(t *testing.T) {
	node, _ := echo(t, "n")
	conf := "listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\nlog: { level: %s, format: %s }\n"
	h := build(t, fmt.Sprintf(conf, node, "info", "text"), houseOptions{})
	with := h.Balancer.log.With("part", "x").WithGroup("g")
	h.write(fmt.Sprintf(conf, node, "error", "json"))
	h.reloaded()
	at := len(h.log.String())
	with.Warn("not worth a line")
	with.Error("worth a line", "k", 1)
	if got := h.log.String()[at:]; strings.Contains(got, "not worth") || !strings.Contains(got, `"msg":"worth a line","part":"x","g":{"k":1}`) {
		t.Errorf("the log: %s", got)
	}
}

func TestAFileThatChangesIsReloadedAndOneThatIsOnlyTouchedIsNot(t *testing.T) {
	one, _ := echo(t, "one")
	two, _ := echo(t, "two")
	conf := func(node string) string {
		return fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\n", node)
	}
	h := build(t, conf(one), houseOptions{watches: true})
	h.write(conf(one))
	h.write(conf(two))
	h.await("the change is taken", func(s roost.Status) bool { return s.Reload.By == ByFile && s.Reload.OK })
	if body, _ := dial(t, h.addr("web")).get("/x"); body != "two /x" {
		t.Errorf("traffic: %q", body)
	}
	h.write("pools: {")
	h.await("the mistake is told", func(s roost.Status) bool { return !s.Reload.OK })
	at := h.log.await(0, "reload failed")
	h.Reload(t.Context(), ByFile, false) // the same mistake again
	h.write(conf(two))
	h.await("it is good again", func(s roost.Status) bool { return s.Reload.OK })
	if n := strings.Count(h.log.String()[at:], "reload failed"); n != 0 {
		t.Errorf("the same mistake was told %d times more", n)
	}
}

func TestADrainingBalancerRefusesReloadsAndChanges(t *testing.T) {
	node, release := echo(t, "n")
	h := build(t, fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\n", node), houseOptions{})
	conn := dial(t, h.addr("web"))
	conn.ask("/slow")
	h.await("the request is at its node", func(s roost.Status) bool { return s.Pools[0].InFlight == 1 })
	ended := make(chan error, 1)
	go func() { ended <- h.end() }()
	h.await("it drains", func(s roost.Status) bool { return s.Draining && !s.Ready })
	if r := h.Reload(t.Context(), BySignal, false); r.OK || r.Errors[0].Code != codeNotNow {
		t.Errorf("reload: %+v", r)
	}
	_, err := h.Change(t.Context(), roost.SetHomes{Pool: "fn", Homes: 2}, nil)
	if c, ok := err.(*roost.ChangeError); !ok || c.Code != roost.CodeEnding {
		t.Errorf("change: %v", err)
	}
	release()
	if body, closes := conn.answer(); body != "n /slow" || !closes {
		t.Errorf("the request in flight: %q, closes %v", body, closes)
	}
	conn.Close()
	if err := <-ended; err != nil {
		t.Errorf("end: %v", err)
	}
}
