package carry

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"roost"
	"roost/internal/h1"
)

// FuzzRequest: whatever head is accepted, what the node gets is a head that says the same, without anything that was
// for us alone, and saying it again changes nothing.
func FuzzRequest(f *testing.F) {
	f.Fuzz(func(t *testing.T, head []byte) {
		w := newWorld(t)
		w.set().Via = ""
		w.set().Forwarded = roost.ForwardOff
		var p h1.Parser
		if done, err := p.Parse(head, &w.req); !done || err != nil {
			return
		}
		text := string(head)
		if _, ok := w.x.Accept(w.snap, &w.peer, &w.req, text, noon, noon); !ok {
			return
		}
		w.x.Choose(1, noon)
		out := string(w.x.AppendRequest(nil))
		var again h1.Head
		p.Reset(h1.Request)
		done, err := p.Parse([]byte(out), &again)
		if !done || err != nil || again.Size != len(out) {
			t.Fatalf("the node would not understand %q: %v, %v", out, done, err)
		}
		if again.MethodName.In(out) != w.req.MethodName.In(text) || again.Length != w.req.Length || again.Chunked != w.req.Chunked ||
			again.Minor != 1 || !again.HasHost || again.Form == h1.AbsoluteForm {
			t.Fatalf("%q became %q", text, out)
		}
		for _, fd := range again.Fields {
			switch fd.ID {
			case h1.KeepAlive, h1.ProxyConnection, h1.HTTP2Settings, h1.ProxyAuthorization, h1.RoostRelay, h1.XForwardedFor, h1.Forwarded:
				t.Fatalf("%q became %q", text, out)
			}
			name := fd.Name.In(out)
			if fd.ID == h1.Other && strings.Contains(","+options(&w.req, text), ","+strings.ToLower(name)+",") {
				t.Fatalf("%s is hop-by-hop: %q became %q", name, text, out)
			}
		}
		pick := w.x.Attempt
		w2 := newWorld(t)
		w2.set().Via, w2.set().Forwarded = "", roost.ForwardOff
		if _, ok := w2.x.Accept(w2.snap, &w2.peer, &again, out, noon, noon); !ok {
			return // Max-Forwards has come to its end
		}
		w2.x.Choose(1, noon)
		twice := string(w2.x.AppendRequest(nil))
		if strings.Contains(strings.ToLower(out), "max-forwards") {
			return
		}
		if sortedLines(twice) != sortedLines(out) || pick.ID != w2.x.Attempt.ID {
			t.Fatalf("%q became %q", out, twice)
		}
	})
}

// options are the names that Connection lists, in lower case, each followed by a comma.
func options(h *h1.Head, text string) (s string) {
	for _, o := range h.ConnOptions[:h.NOptions] {
		s += strings.ToLower(o.In(text)) + ","
	}
	return s
}

func sortedLines(s string) string {
	l := strings.Split(s, "\r\n")
	for i := range l {
		for j := i; j > 0 && l[j] < l[j-1]; j-- {
			l[j], l[j-1] = l[j-1], l[j]
		}
	}
	return strings.Join(l, "\r\n")
}

// FuzzResponse: whatever answer is passed on, the client gets a head that frames the same body.
func FuzzResponse(f *testing.F) {
	f.Fuzz(func(t *testing.T, head []byte, oldClient bool) {
		w := newWorld(t)
		var p h1.Parser
		p.Reset(h1.Response)
		if done, err := p.Parse(head, &w.res); !done || err != nil {
			return
		}
		version := "HTTP/1.1"
		if oldClient {
			version = "HTTP/1.0"
		}
		w.request(lines("GET / "+version, "Host: h", "Connection: Upgrade", "Upgrade: websocket"))
		text := string(head)
		turn := w.x.Respond(&w.res, text, noon)
		var out string
		switch turn {
		case Interim:
			out = string(w.x.AppendInterim(nil, &w.res, text))
		case Pass, Switch:
			out = string(w.x.AppendResponse(nil, &w.res, text, noon))
		default:
			return
		}
		var again h1.Head
		p.Reset(h1.Response)
		done, err := p.Parse([]byte(out), &again)
		if !done || err != nil || again.Size != len(out) || again.Status != w.res.Status {
			t.Fatalf("the client would not understand %q: %v, %v", out, done, err)
		}
		if turn == Interim {
			return
		}
		was, is := h1.ResponseBody(&w.res, h1.GET), h1.ResponseBody(&again, h1.GET)
		if was.Framing != is.Framing && !(oldClient && was.Framing == h1.ByChunks && is.Framing == h1.ByClose) || was.Raw() != is.Raw() && was.Framing == h1.ByLength {
			t.Fatalf("%q became %q", text, out)
		}
		if is.Framing == h1.ByClose && again.Persistent() {
			t.Fatalf("a body ended by the connection's end, on one that goes on: %q", out)
		}
	})
}

// FuzzFlow: a body that is carried over has the same payload, however it was cut into pieces, and is whole exactly if it
// was.
func FuzzFlow(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		head := h1.Head{Kind: h1.Request, Length: -1, Chunked: true}
		whole := Flow{Body: h1.RequestBody(&head), Chunked: true, Limit: 1 << 20}
		want, used, err := whole.Next(nil, in)
		parts := Flow{Body: h1.RequestBody(&head), Chunked: true, Limit: 1 << 20}
		n := int(cut)
		if n > len(in) {
			n = len(in)
		}
		got, u1, err1 := parts.Next(nil, in[:n])
		if err1 == nil && !parts.Body.Done() {
			var u2 int
			got, u2, err1 = parts.Next(got, in[u1:])
			u1 += u2
		}
		if !errors.Is(err1, err) || whole.Body.Done() != parts.Body.Done() || err == nil && (u1 != used || whole.Bytes != parts.Bytes) {
			t.Fatalf("%q cut at %d: %v, %v; %d, %d", in, n, err, err1, used, u1)
		}
		if err != nil {
			return
		}
		a, doneA := payload(t, want)
		b, doneB := payload(t, got)
		if !bytes.Equal(a, b) || doneA != doneB || doneA != whole.Body.Done() || int64(len(a)) != whole.Bytes {
			t.Fatalf("%q cut at %d: %q and %q", in, n, want, got)
		}
	})
}

// payload decodes what a Flow made.
func payload(t *testing.T, chunks []byte) (p []byte, done bool) {
	head := h1.Head{Kind: h1.Request, Length: -1, Chunked: true}
	f := Flow{Body: h1.RequestBody(&head)}
	p, used, err := f.Next(nil, chunks)
	if err != nil || used != len(chunks) {
		t.Fatalf("%q: used %d, %v", chunks, used, err)
	}
	return p, f.Body.Done()
}

func FuzzLoad(f *testing.F) {
	f.Fuzz(func(t *testing.T, value string, wait bool) {
		id := h1.EndpointLoadMetrics
		if wait {
			id = h1.FXLBWait
		}
		var r report
		r.take(id, value)
		l := r.load
		if !l.Has && l.Pressure != 0 || float64(l.Pressure) > math.Ceil(maxPressure*65535) {
			t.Fatalf("%q: %+v", value, l)
		}
		if r.wait < 0 || r.wait > 0 && !wait {
			t.Fatalf("%q: a wait of %v", value, r.wait)
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string, rfc bool) {
		a, ok := address(s, rfc)
		if ok != a.IsValid() || ok && (a.Zone() != "" || a.Is4In6()) {
			t.Fatalf("%q: %v, %v", s, a, ok)
		}
		if ok && !rfc {
			if b, ok := address(a.String(), false); !ok || b != a {
				t.Fatalf("%q: %v, then %v", s, a, b)
			}
		}
	})
}
