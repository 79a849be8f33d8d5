package carry

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/h1"
)

// world is a snapshot with one route and one node, and what a test sends through it.
type world struct {
	t    testing.TB
	snap *roost.Snapshot
	peer Peer
	x    Exchange
	req  h1.Head
	res  h1.Head
}

func newWorld(t testing.TB) *world {
	table := &roost.Table{Pool: "p", Hash: roost.Hash{Algo: roost.SipHash13}, Policy: roost.Policy{Homes: 1, WalkFloor: 100},
		SlotBits: roost.MinSlotBits, Stride: []uint32{1}, Roster: []roost.RosterNode{{ID: "n1", Share: roost.WeightOne}}}
	page := &roost.Page{}
	for s := range page.Rows {
		page.Rows[s] = roost.Row{0, roost.NoNode, roost.NoNode, roost.NoNode, roost.NoNode, roost.NoNode, roost.NoNode, roost.NoNode}
	}
	for range table.Slots() / roost.PageSlots {
		table.Pages = append(table.Pages, page)
	}
	pool := roost.PoolView{ID: "p", Table: table, Live: &roost.PoolLive{}, Weight: roost.WeightOne, Takers: 1,
		Settings: roost.PoolSettings{MaxTries: 3, ReplayBody: 1 << 16},
		Nodes:    []roost.NodeView{{ID: "n1", Addr: "10.0.0.1:80", Weight: roost.WeightOne, Verdict: roost.Well, Live: &roost.Live{}}}}
	rt := &roost.Route{Name: "r", PoolID: "p", Keys: []roost.KeyProgram{{Ops: []roost.KeyOp{{From: roost.FromPath}}}}}
	return &world{t: t, peer: Peer{Addr: netip.MustParseAddr("192.0.2.7")}, snap: &roost.Snapshot{
		Listeners: []roost.ListenerView{{Name: "main", Routes: []*roost.Route{rt}, Want: []string{"x-tenant"},
			Settings: roost.ListenerSettings{Via: "roost", Upgrades: []string{"websocket"}}}},
		Pools: []roost.PoolView{pool}}}
}

func (w *world) set() *roost.ListenerSettings { return &w.snap.Listeners[0].Settings }

const noon = int64(1_700_000_000_000_000_000)

func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n\r\n" }

func parse(t testing.TB, k h1.Kind, text string, h *h1.Head) {
	t.Helper()
	var p h1.Parser
	p.Reset(k)
	if done, err := p.Parse([]byte(text), h); err != nil || !done {
		t.Fatalf("%q: %v, %v", text, done, err)
	}
}

// request sends a head to the node and returns what the node gets.
func (w *world) request(text string) string {
	w.t.Helper()
	parse(w.t, h1.Request, text, &w.req)
	if r, ok := w.x.Accept(w.snap, &w.peer, &w.req, text, noon, noon); !ok {
		w.t.Fatalf("%q: refused with %+v", text, r)
	}
	if r := w.x.Choose(1, noon); r != roost.NotRefused {
		w.t.Fatalf("%q: %v", text, r)
	}
	return string(w.x.AppendRequest(nil))
}

// respond answers with a head and returns what follows and what the client gets.
func (w *world) respond(text string) (Turn, string) {
	w.t.Helper()
	parse(w.t, h1.Response, text, &w.res)
	turn := w.x.Respond(&w.res, text, noon)
	if turn == Interim {
		return turn, string(w.x.AppendInterim(nil, &w.res, text))
	}
	return turn, string(w.x.AppendResponse(nil, &w.res, text, noon))
}

func TestForwardingFieldsByStyleAndTrust(t *testing.T) {
	inbound := []string{"X-Forwarded-For: 203.0.113.9, 10.1.1.1", "X-Forwarded-For: 10.1.1.2", "X-Forwarded-Proto: https", "X-Real-IP: 203.0.113.9",
		`Forwarded: for=203.0.113.9;proto=https, for="[2001:db8::9]:80"`}
	x := "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h:8080\r\n"
	f := "Forwarded: for=192.0.2.7;host=\"h:8080\";proto=http\r\n"
	for _, c := range []struct {
		name    string
		style   roost.Forwarding
		trusted bool
		want    string
	}{
		{"X, untrusted", roost.ForwardX, false, x},
		{"Forwarded, untrusted", roost.ForwardRFC, false, f},
		{"both, untrusted", roost.ForwardBoth, false, x + f},
		{"off, untrusted", roost.ForwardOff, false, ""},
		{"X, trusted", roost.ForwardX, true, "X-Forwarded-Proto: https\r\nX-Real-IP: 203.0.113.9\r\n" + inbound[4] + "\r\n" +
			"X-Forwarded-For: 203.0.113.9, 10.1.1.1, 10.1.1.2, 192.0.2.7\r\nX-Forwarded-Host: h:8080\r\n"},
		{"Forwarded, trusted", roost.ForwardRFC, true, strings.Join(inbound[:4], "\r\n") + "\r\n" + inbound[4] + ", " + f[len("Forwarded: "):]},
		{"off, trusted", roost.ForwardOff, true, strings.Join(inbound, "\r\n") + "\r\n"},
	} {
		w := newWorld(t)
		w.set().Via, w.set().Forwarded = "", c.style
		if c.trusted {
			w.set().Trust = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}
		got := w.request("GET / HTTP/1.1\r\nHost: h:8080\r\n" + strings.Join(inbound, "\r\n") + "\r\n\r\n")
		if want := "GET / HTTP/1.1\r\nHost: h:8080\r\n" + c.want + "\r\n"; got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, want)
		}
	}
}

func TestTheClientIsTheLastAddressThatIsNotTrusted(t *testing.T) {
	for _, c := range []struct {
		name  string
		style roost.Forwarding
		peer  string
		field string
		want  string
	}{
		{"untrusted peer", roost.ForwardX, "203.0.113.1", "X-Forwarded-For: 1.1.1.1", "203.0.113.1"},
		{"one hop", roost.ForwardX, "10.0.0.1", "X-Forwarded-For: 1.1.1.1", "1.1.1.1"},
		{"a spoofed element before", roost.ForwardX, "10.0.0.1", "X-Forwarded-For: 6.6.6.6, 1.1.1.1", "1.1.1.1"},
		{"several trusted hops", roost.ForwardX, "10.0.0.1", "X-Forwarded-For: 1.1.1.1, 10.0.0.3, 10.0.0.2", "1.1.1.1"},
		{"over several fields", roost.ForwardX, "10.0.0.1", "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 10.0.0.2", "1.1.1.1"},
		{"all trusted", roost.ForwardX, "10.0.0.1", "X-Forwarded-For: 10.0.0.9, 10.0.0.2", "10.0.0.9"},
		{"nonsense ends the walk", roost.ForwardX, "10.0.0.1", "X-Forwarded-For: 1.1.1.1, unknown, 10.0.0.2", "10.0.0.2"},
		{"with a port", roost.ForwardX, "10.0.0.1", "X-Forwarded-For: 1.1.1.1:99", "1.1.1.1"},
		{"IPv6 with a port", roost.ForwardX, "10.0.0.1", "X-Forwarded-For: [2001:db8::1]:99", "2001:db8::1"},
		{"bare IPv6", roost.ForwardX, "10.0.0.1", "X-Forwarded-For: 2001:db8::1", "2001:db8::1"},
		{"a zone", roost.ForwardX, "10.0.0.1", "X-Forwarded-For: fe80::1%eth0", "10.0.0.1"},
		{"IPv4 in IPv6", roost.ForwardX, "10.0.0.1", "X-Forwarded-For: ::ffff:1.1.1.1", "1.1.1.1"},
		{"no field", roost.ForwardX, "10.0.0.1", "X: y", "10.0.0.1"},
		{"Forwarded", roost.ForwardRFC, "10.0.0.1", `Forwarded: proto=http;for="[2001:db8::1]:99"`, "2001:db8::1"},
		{"Forwarded, obfuscated", roost.ForwardRFC, "10.0.0.1", "Forwarded: for=1.1.1.1, for=_hidden", "10.0.0.1"},
		{"Forwarded is not asked", roost.ForwardX, "10.0.0.1", "Forwarded: for=1.1.1.1", "10.0.0.1"},
		{"both: Forwarded first", roost.ForwardBoth, "10.0.0.1", "Forwarded: for=1.1.1.1\r\nX-Forwarded-For: 2.2.2.2", "1.1.1.1"},
		{"both: else X", roost.ForwardBoth, "10.0.0.1", "X-Forwarded-For: 2.2.2.2", "2.2.2.2"},
	} {
		w := newWorld(t)
		w.peer.Addr = netip.MustParseAddr(c.peer)
		w.set().Forwarded = c.style
		w.set().Trust = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		w.request(lines("GET / HTTP/1.1", "Host: h", c.field))
		if got := w.x.Request.Client.String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestWhatRoutesLookAtIsFound(t *testing.T) {
	w := newWorld(t)
	w.request(lines("GET /a/b?q HTTP/1.1", "Host: h", "X-TENANT: one", "x-tenant: two"))
	r := &w.x.Request
	if r.Want[0] != "one" || r.Has != 1 || r.Path != "/a/b" || r.Query != "q" || string(w.x.Key.Bytes) != "/a/b" || r.Scheme != "http" {
		t.Errorf("%+v", r)
	}
	w.request(lines("GET /a/b?q HTTP/1.1", "Host: h"))
	if r.Want[0] != "" || r.Has != 0 {
		t.Error("a field of an earlier request is still there")
	}
}

func TestAnswersLoseWhatWasForUsAlone(t *testing.T) {
	w := newWorld(t)
	w.request(lines("GET / HTTP/1.1", "Host: h"))
	turn, got := w.respond(lines("HTTP/1.1 200 Fine", "Date: now", "Connection: X-Hop, close", "X-Hop: 1", "Keep-Alive: timeout=5", "Content-Length: 3",
		"Proxy-Authenticate: Basic", "endpoint-load-metrics: TEXT cpu_utilization=1", "endpoint-load-metrics-bin: AA==", "XXX-FXLB-WAIT: 1s",
		"Trailer: Sum", "Upgrade: websocket", "X-Stay: 1"))
	want := lines("HTTP/1.1 200 Fine", "Date: now", "X-Stay: 1", "Via: 1.1 roost", "Content-Length: 3")
	if turn != Pass || got != want {
		t.Errorf("%v, got %q, want %q", turn, got, want)
	}
	w.x.End(roost.StageDone, roost.NoFault, nil, noon)
	if load := w.snap.Pools[0].Nodes[0].Live.Load.Load(); load == 0 {
		t.Error("the report was lost")
	}
	if NodeIdle(&w.res, lines("HTTP/1.1 200 Fine", "Date: now", "Connection: X-Hop, close", "X-Hop: 1", "Keep-Alive: timeout=5")) != 5*time.Second {
		t.Error("the node's idle limit was not seen")
	}
}

func TestADateIsAddedWhereTheNodeSaysNone(t *testing.T) {
	w := newWorld(t)
	w.set().Via = ""
	w.request(lines("GET / HTTP/1.1", "Host: h"))
	if _, got := w.respond(lines("HTTP/1.1 204 No Content")); got != lines("HTTP/1.1 204 No Content", "Date: Tue, 14 Nov 2023 22:13:20 GMT") {
		t.Errorf("got %q", got)
	}
}

func TestRepliesByWhatTheClientAccepts(t *testing.T) {
	for _, c := range []struct{ accept, kind, body string }{
		{"X: y", "application/json", `{"error":{"code":"no_route","message":"no route matches this request"}}` + "\n"},
		{"Accept: */*", "application/json", `{"error":{"code":"no_route","message":"no route matches this request"}}` + "\n"},
		{"Accept: text/html, */*", "text/plain; charset=utf-8", "no_route: no route matches this request\n"},
		{"Accept: text/plain, application/problem+json", "application/json", `{"error":{"code":"no_route","message":"no route matches this request"}}` + "\n"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			w := newWorld(t)
			w.snap.Listeners[0].Routes = nil
			text := lines(method+" / HTTP/1.1", "Host: h", c.accept)
			parse(t, h1.Request, text, &w.req)
			r, ok := w.x.Accept(w.snap, &w.peer, &w.req, text, noon, noon)
			got := string(w.x.AppendReply(nil, r, noon))
			head, body, _ := strings.Cut(got, "\r\n\r\n")
			var h h1.Head
			parse(t, h1.Response, head+"\r\n\r\n", &h)
			if method == "HEAD" && body == "" {
				body = c.body
			}
			if ok || h.Status != 404 || body != c.body || h.Length != int64(len(c.body)) || !strings.Contains(head, "Content-Type: "+c.kind) {
				t.Errorf("%s: got %q", c.accept, got)
			}
		}
	}
}

// Every answer of ours is whole, has the length it says, and its JSON needs no escaping.
func TestEveryReplyIsWellFormed(t *testing.T) {
	w := newWorld(t)
	var replies []Reply
	w.request(lines("GET / HTTP/1.1", "Host: h"))
	for f := roost.NoFault; f <= roost.FaultLocal; f++ {
		w.x.fault = f
		replies = append(replies, w.x.Failed())
	}
	w.x.fault = roost.NoFault
	for _, r := range []roost.Refusal{roost.RefusedEmpty, roost.RefusedFull, roost.RefusedOwner} {
		replies = append(replies, w.x.Refused(r))
	}
	for r := h1.ErrEmptyLines; r <= h1.ErrTruncated; r++ {
		replies = append(replies, w.x.Refuse(w.snap, &w.peer, nil, r, noon))
	}
	replies = append(replies, w.x.Late(w.snap, &w.peer, noon), w.x.Shed(w.snap, &w.peer, noon))
	for _, r := range replies {
		got := string(w.x.AppendReply(nil, r, noon))
		if r == (Reply{}) {
			if got != "" || !w.x.Record.Aborted {
				t.Errorf("an answer to a client that has gone: %q", got)
			}
			continue
		}
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		var h h1.Head
		parse(t, h1.Response, head+"\r\n\r\n", &h)
		if h.Status != r.Status || h.Length != int64(len(body)) || r.Code == "" || reasonPhrase(r.Status) == "Error" {
			t.Errorf("%+v: got %q", r, got)
		}
		if strings.ContainsAny(r.Code+r.Text, "\"\\\r\n") {
			t.Errorf("%+v would have to be escaped", r)
		}
		if (r.Status == 503) != strings.Contains(head, "Retry-After: ") {
			t.Errorf("%+v: got %q", r, head)
		}
	}
}

func TestLoadReports(t *testing.T) {
	at := func(p float64) uint16 { return uint16(p * maxPressure * 65535) }
	for _, c := range []struct {
		id    h1.FieldID
		value string
		has   bool
		want  uint16
	}{
		{h1.FXLBWait, "0s", true, 0},
		{h1.FXLBWait, "500ms", true, 0},
		{h1.FXLBWait, "1.25s", true, at(0.5)},
		{h1.FXLBWait, "2s", true, at(1)},
		{h1.FXLBWait, "1h", true, at(1)},
		{h1.FXLBWait, "-1s", false, 0},
		{h1.FXLBWait, "soon", false, 0},
		{h1.FXLBWait, "", false, 0},
		{h1.EndpointLoadMetrics, "TEXT cpu_utilization=0.3,mem_utilization=0.5", true, 0},
		{h1.EndpointLoadMetrics, "TEXT cpu_utilization=0.9", true, at(0.5)},
		{h1.EndpointLoadMetrics, "cpu_utilization=0.1, mem_utilization=1.0", true, at(1)},
		{h1.EndpointLoadMetrics, "TEXT cpu_utilization=1,application_utilization=0.9", true, at(0.5)},
		{h1.EndpointLoadMetrics, `JSON {"cpu_utilization": 0.9, "named_metrics": {"cpu_utilization": "x"}}`, true, at(0.5)},
		{h1.EndpointLoadMetrics, `JSON {"rps": 100}`, false, 0},
		{h1.EndpointLoadMetrics, "TEXT cpu_utilization=7", true, at(1)},
		{h1.EndpointLoadMetrics, "TEXT cpu_utilization=NaN", false, 0},
		{h1.EndpointLoadMetrics, "TEXT cpu_utilization=-1", false, 0},
		{h1.EndpointLoadMetrics, "BIN CQ==", false, 0},
		{h1.EndpointLoadMetrics, "", false, 0},
	} {
		var r report
		r.take(c.id, c.value)
		got := r.load
		if got.Has != c.has || max(got.Pressure, c.want)-min(got.Pressure, c.want) > 1 {
			t.Errorf("%q: %+v, want %v %d", c.value, got, c.has, c.want)
		}
	}
}

// keepAlive is what a connection does for one request, all of carry and nothing else.
func (w *world) keepAlive(text, answer string, dst []byte) []byte {
	if _, ok := w.x.Accept(w.snap, &w.peer, &w.req, text, noon, noon); !ok {
		w.t.Fatal("refused")
	}
	if w.x.Choose(1, noon) != roost.NotRefused {
		w.t.Fatal("no node")
	}
	dst = w.x.AppendRequest(dst[:0])
	if w.x.Respond(&w.res, answer, noon) != Pass {
		w.t.Fatal("not passed")
	}
	dst = w.x.AppendResponse(dst[:0], &w.res, answer, noon)
	dst, _, _ = w.x.Out.Next(dst, hello)
	if w.x.End(roost.StageDone, roost.NoFault, nil, noon) != roost.StepDone {
		w.t.Fatal("not done")
	}
	w.x.Finish(noon)
	return dst
}

var hello = []byte("hello")

const (
	aRequest = "GET /r/shop/cart?id=7 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: wrk/4.1\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nCookie: a=b\r\n\r\n"
	anAnswer = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"
)

func TestAKeepAliveExchangeAllocatesNothing(t *testing.T) {
	w := newWorld(t)
	parse(t, h1.Request, aRequest, &w.req)
	parse(t, h1.Response, anAnswer, &w.res)
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(200, func() { w.keepAlive(aRequest, anAnswer, buf) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKeepAliveExchange(b *testing.B) {
	w := newWorld(b)
	parse(b, h1.Request, aRequest, &w.req)
	parse(b, h1.Response, anAnswer, &w.res)
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		w.keepAlive(aRequest, anAnswer, buf)
	}
}

func TestAnAbsoluteTargetWithoutAPathHasTheRootsKey(t *testing.T) {
	for _, target := range []string{"http://h", "http://h?q=1", "http://h/", "/?q=1"} {
		w := newWorld(t)
		w.request(lines("GET "+target+" HTTP/1.1", "Host: h"))
		if got := string(w.x.Key.Bytes); got != "/" {
			t.Errorf("%s: key %q", target, got)
		}
	}
}
