package carry

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"roost"
	"roost/internal/proxyproto"
	"roost/internal/route"
)

// clientHello is one that asks for a.example.
const clientHello = "\x16\x03\x01\x00\x41\x01\x00\x00\x3d\x03\x03" + "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr" + "\x00\x00\x02\x13\x01\x01\x00" +
	"\x00\x12\x00\x00\x00\x0e\x00\x0c\x00\x00\x09a.example"

// raw makes the world's route one of raw connections.
func (w *world) raw(host string, keys ...string) *world {
	w.t.Helper()
	rt := &roost.Route{Name: "r", PoolID: "p", Match: roost.Match{Host: host}, OnMissing: roost.MissingReject}
	for _, text := range keys {
		k, err := route.ParseKey(text, route.Scope{})
		if err != nil {
			w.t.Fatal(err)
		}
		rt.Keys = append(rt.Keys, k)
	}
	l := &w.snap.Listeners[0]
	l.Settings.Protocol, l.Routes, l.Hello = roost.ServesTCP, []*roost.Route{rt}, route.NeedsHello(rt)
	return w
}

// stream accepts a stream that is ready at once.
func (w *world) stream(first string) *Stream {
	w.t.Helper()
	x := &Stream{}
	if o, r := x.Accept(w.snap, &w.peer, first, false, noon, noon); o != Ready {
		w.t.Fatalf("%q: %v, %+v", first, o, r)
	}
	return x
}

func TestAStreamIsPlacedByWhatItsRouteLooksAtAndNoMore(t *testing.T) {
	for _, c := range []struct {
		host  string
		keys  []string
		first string
		need  int // bytes until it is known
		key   string
		code  string // of a refusal
	}{
		{"", []string{"client_ip"}, clientHello, 0, "192.0.2.7", ""},
		{"", []string{"sni"}, clientHello, len(clientHello), "a.example", ""},
		{"*.example", []string{"client_ip"}, clientHello, len(clientHello), "192.0.2.7", ""},
		{"*.org", []string{"client_ip"}, clientHello, len(clientHello), "", "no_route"},
		{"", []string{"sni"}, "SSH-2.0", 1, "", "key_missing"},
		{"", []string{"sni", "client_ip"}, "SSH-2.0", 1, "192.0.2.7", ""},
		{"", []string{"sni"}, "\x16\x03\x09", 3, "", "key_missing"},
		{"", []string{"sni"}, "\x16\x03\x01\x00\x00", 5, "", "tls_hello_invalid"},
		{"", []string{"bytes[2:4]"}, "abcdef", 4, "cd", ""},
		{"", []string{"bytes_until:;"}, "ab;cd", 3, "ab", ""},
		{"", []string{"bytes_until:;", "client_ip"}, strings.Repeat("x", 5000), roost.MaxFirst, "192.0.2.7", ""},
		{"", []string{"client_ip", "bytes[0:4]"}, "abcdef", 0, "192.0.2.7", ""},
		{"", []string{"proxy_tlv:authority", "bytes[0:4]"}, "abcdef", 4, "abcd", ""},
		{"", []string{"sni", "bytes[0:4]"}, clientHello, len(clientHello), "a.example", ""},
	} {
		w := newWorld(t).raw(c.host, c.keys...)
		for n := range len(c.first) + 1 {
			var x Stream
			o, r := x.Accept(w.snap, &w.peer, c.first[:n], false, noon, noon)
			want := Ready
			if n < c.need {
				want = Peek
			} else if c.code != "" {
				want = Shut
			}
			if o != want || o == Shut && r.Code != c.code || o == Ready && string(x.Key.Bytes) != c.key {
				t.Fatalf("%s %v, %d bytes of %q: %v, %+v, key %q", c.host, c.keys, n, c.first, o, r, x.Key.Bytes)
			}
			if o == Peek && n >= MaxPeek {
				t.Fatalf("more than %d bytes are asked for", MaxPeek)
			}
			if o, _ := x.Accept(w.snap, &w.peer, c.first[:n], true, noon, noon); o == Peek {
				t.Fatalf("%d bytes of %q: more is asked for behind the end", n, c.first)
			}
		}
	}
	w := newWorld(t).raw("", "sni")
	w.peer.TLS, w.peer.SNI = true, "b.example"
	if x := w.stream(""); string(x.Key.Bytes) != "b.example" || x.Record.Host != "b.example" {
		t.Errorf("TLS that ended here: %+v", x.Record)
	}
}

func TestOnlyWhatWasNotSentIsTriedAgain(t *testing.T) {
	for _, c := range []struct {
		stage roost.Stage
		fault roost.Fault
		sent  bool
		want  roost.Step
		code  string
	}{
		{roost.StageDone, roost.NoFault, true, roost.StepDone, ""},
		{roost.StageConnect, roost.FaultRefused, false, roost.StepRetry, ""},
		{roost.StageConnect, roost.FaultConnect, false, roost.StepRetry, ""},
		{roost.StageSend, roost.FaultReset, false, roost.StepRetry, ""},
		{roost.StageSend, roost.FaultReset, true, roost.StepFail, "node_reset"},
		{roost.StageConnect, roost.FaultLocal, false, roost.StepFail, "out_of_resources"},
		{roost.StageConnect, roost.FaultClientGone, false, roost.StepFail, "client_gone"},
	} {
		w := newWorld(t).raw("", "client_ip")
		x := w.stream("")
		if r := x.Choose(1, noon); r != roost.NotRefused {
			t.Fatal(r)
		}
		x.Sent = c.sent
		if got := x.End(c.stage, c.fault, errors.New("why"), noon+5); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
		live := w.snap.Pools[0].Nodes[0].Live
		if live.InFlight.Load() != 0 || c.fault == roost.NoFault && (live.Requests.Load() != 1 || live.Nanos.Load() != 5 || live.Broken.Load() != 0) {
			t.Errorf("%+v: %d in flight, %d tallied", c, live.InFlight.Load(), live.Requests.Load())
		}
		if c.want == roost.StepFail {
			if r := x.Finish(x.Failed(), noon+9); r.Reason != c.code || !r.Aborted || r.Nanos != 9 || r.Cause != "why" || r.Proto != "TCP" {
				t.Errorf("%+v: %+v", c, r)
			}
		}
		if c.want == roost.StepRetry { // there is no other node: what went wrong is told, not that none is left
			if r := x.Refused(x.Choose(1, noon)); r != failure(c.fault) {
				t.Errorf("%+v: %+v", c, r)
			}
		}
	}
}

func TestARelayIsSmallAndItsRecordIsThatOfTheStream(t *testing.T) {
	if n := unsafe.Sizeof(Relay{}); n > 104 {
		t.Errorf("%d bytes", n)
	}
	w := newWorld(t).raw("", "sni")
	x := w.stream(clientHello)
	x.Choose(1, noon)
	x.End(roost.StageDone, roost.NoFault, nil, noon+3_000)
	want := x.Record
	want.BytesIn, want.BytesOut, want.Nanos = 10, 20, 50_000
	var relay Relay
	x.Settle(&relay)
	live := relay.Live
	if live.Conns.Load() != 1 || live.InFlight.Load() != 0 {
		t.Errorf("connections %d, in flight %d", live.Conns.Load(), live.InFlight.Load())
	}
	x.Accept(w.snap, &w.peer, "", true, noon, noon) // its views are gone
	var got roost.Record
	relay.Finish(&got, 10, 20, noon+50_000)
	if !reflect.DeepEqual(got, want) || live.Conns.Load() != 0 || relay != (Relay{}) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestARelayOfAnUpgradeHasTheRecordOfItsExchange(t *testing.T) {
	w := newWorld(t)
	w.request(lines("GET /chat HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket"))
	if turn, _ := w.respond(lines("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket")); turn != Switch {
		t.Fatal(turn)
	}
	var relay Relay
	w.x.Settle(&relay)
	want := *w.x.Finish(noon + 50_000)
	want.BytesIn, want.BytesOut = 10, 20
	var got roost.Record
	relay.Finish(&got, 10, 20, noon+50_000)
	if !reflect.DeepEqual(got, want) || !got.Upgraded || got.Status != 101 || got.Method != "GET" || got.Target != "/chat" {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestAStreamAllocatesTheWordsOfItsRecordAndNothingElse(t *testing.T) {
	w := newWorld(t).raw("", "sni")
	var x Stream
	var relay Relay
	var rec roost.Record
	buf := make([]byte, 0, 256)
	w.snap.Pools[0].Settings.SendProxy = 1
	x.Accept(w.snap, &w.peer, clientHello, false, noon, noon)
	if n := testing.AllocsPerRun(200, func() {
		x.Accept(w.snap, &w.peer, clientHello, false, noon, noon)
		x.Choose(1, noon)
		buf = x.AppendProxy(buf[:0], netip.AddrPort{})
		x.End(roost.StageDone, roost.NoFault, nil, noon)
		x.Settle(&relay)
		relay.Finish(&rec, 1, 1, noon)
	}); n > 2 { // the words, and the key of the record at its end
		t.Errorf("%v allocations", n)
	}
}

func TestAnIntroductionIsTheSameHoweverItComes(t *testing.T) {
	in := proxyproto.Header{Src: netip.MustParseAddrPort("198.51.100.9:4242"), Dst: netip.MustParseAddrPort("203.0.113.1:443"), TLVs: "\x05\x00\x02id"}
	trusted := &roost.ListenerSettings{ProxyProtocol: true, Trust: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	from := Peer{Addr: netip.MustParseAddr("192.0.2.7"), Port: 99}
	told := Peer{Addr: in.Src.Addr(), Port: 4242, To: in.Dst, TLVs: string(in.TLVs)}
	v1, v2 := told, told
	v1.TLVs = ""
	for _, c := range []struct {
		set  *roost.ListenerSettings
		from Peer
		b    string
		want Peer
		code string
	}{
		{trusted, from, string(proxyproto.AppendV2(nil, &in)), v2, ""},
		{trusted, from, string(proxyproto.AppendV1(nil, &in)), v1, ""},
		{trusted, from, string(proxyproto.AppendV2(nil, &proxyproto.Header{Local: true})), from, ""},
		{trusted, from, "PROXY UNKNOWN\r\n", from, ""},
		{trusted, Peer{}, string(proxyproto.AppendV1(nil, &in)), v1, ""}, // by a unix socket
		{trusted, from, "GET / HTTP/1.1\r\n", from, "proxy_invalid"},
		{trusted, Peer{Addr: in.Src.Addr()}, string(proxyproto.AppendV1(nil, &in)), Peer{Addr: in.Src.Addr()}, "proxy_untrusted"},
		{&roost.ListenerSettings{}, from, "GET / HTTP/1.1\r\n", from, ""},
	} {
		for n := range len(c.b) + 1 {
			p := c.from
			used, o, r := p.Introduce(c.set, c.b[:n], false)
			switch {
			case o == Peek && n < len(c.b):
				if p != c.from {
					t.Fatalf("%q, %d bytes: the peer is %+v already", c.b, n, p)
				}
				if _, o, r := p.Introduce(c.set, c.b[:n], true); o != Shut || r.Code != "proxy_invalid" {
					t.Fatalf("%q ended after %d bytes: %v, %+v", c.b, n, o, r)
				}
			case o == Shut && r.Code == c.code && c.code != "":
			case o != Ready || c.code != "" || p != c.want || c.set.ProxyProtocol && used != len(c.b):
				t.Fatalf("%q, %d bytes: %v, %+v, %+v", c.b, n, o, r, p)
			}
		}
	}
}

func TestANodeIsToldOfTheClientsTLS(t *testing.T) {
	w := newWorld(t).raw("", "sni")
	w.snap.Pools[0].Settings.SendProxy = 2
	w.peer.Port = 4242
	local := netip.MustParseAddrPort("203.0.113.1:443")
	tell := func(first string) proxyproto.Header {
		var h proxyproto.Header
		x := w.stream(first)
		b := x.AppendProxy(nil, local)
		if whole, err := proxyproto.Parse(string(b), &h); !whole || err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		return h
	}
	h := tell(clientHello)
	name, _ := h.TLVs.Find(proxyproto.TypeAuthority)
	if _, ssl := h.TLVs.Find(proxyproto.TypeSSL); name != "a.example" || ssl || h.Src.String() != "192.0.2.7:4242" || h.Dst != local {
		t.Errorf("passed through: %+v", h)
	}
	w.peer.TLS, w.peer.SNI, w.peer.ALPN, w.peer.Cert = true, "b.example", "mqtt", &roost.CertNames{CommonName: "device-7"}
	w.peer.To = netip.MustParseAddrPort("198.51.100.1:8883")
	h = tell("")
	name, _ = h.TLVs.Find(proxyproto.TypeAuthority)
	alpn, _ := h.TLVs.Find(proxyproto.TypeALPN)
	cn, _ := h.TLVs.Find(proxyproto.SSLCommonName)
	if name != "b.example" || alpn != "mqtt" || cn != "device-7" || h.Dst != w.peer.To {
		t.Errorf("ended here: %+v", h)
	}
}

func BenchmarkStream(b *testing.B) {
	w := newWorld(b).raw("*.example", "sni")
	var x Stream
	var relay Relay
	var rec roost.Record
	b.ReportAllocs()
	for b.Loop() {
		x.Accept(w.snap, &w.peer, clientHello, false, noon, noon)
		x.Choose(1, noon)
		x.End(roost.StageDone, roost.NoFault, nil, noon)
		x.Settle(&relay)
		relay.Finish(&rec, 1, 1, noon)
	}
}
