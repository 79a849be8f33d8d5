package h1

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// outcome is what a parser came to.
type outcome struct {
	Done   bool
	Reason Reason
	Head   string // what the head means, when done
}

// parse gives a parser in[:n] for each of the cuts n in turn and then all of it. Each time the bytes lie elsewhere, and
// what lay there before is overwritten.
func parse(k Kind, l Limits, in []byte, cuts ...int) outcome {
	p := Parser{Limits: l}
	p.Reset(k)
	var h Head
	for _, n := range append(cuts, len(in)) {
		b := bytes.Clone(in[:n])
		done, err := p.Parse(b, &h)
		o := outcome{Done: done}
		if err != nil {
			o.Reason = err.(Reason)
		}
		if done {
			o.Head = describe(&h, string(in))
		}
		if done || err != nil || n == len(in) {
			return o
		}
		for i := range b {
			b[i] = '?'
		}
	}
	panic("not reached")
}

// describe writes down all of a head, with text in place of spans.
func describe(h *Head, text string) string {
	var s strings.Builder
	v := reflect.ValueOf(*h)
	for i := range v.NumField() {
		switch x := v.Field(i).Interface().(type) {
		case Span:
			fmt.Fprintf(&s, "%s=%q ", v.Type().Field(i).Name, x.In(text))
		case []Field:
			for _, f := range x {
				fmt.Fprintf(&s, "%d:%q=%q ", f.ID, f.Name.In(text), f.Value.In(text))
			}
		case [MaxConnOptions]Span:
			for _, o := range x[:h.NOptions] {
				fmt.Fprintf(&s, "option=%q ", o.In(text))
			}
		default:
			fmt.Fprintf(&s, "%s=%v ", v.Type().Field(i).Name, x)
		}
	}
	return s.String()
}

// each calls f with every message of the tables.
func each(f func(k Kind, m message)) {
	for _, m := range requests {
		f(Request, m)
	}
	for _, m := range responses {
		f(Response, m)
	}
}

func TestHeadsAreAcceptedOrRefusedForTheRightReason(t *testing.T) {
	each(func(k Kind, m message) {
		o := parse(k, tight, m.bytes())
		if o.Reason != m.want || o.Done != (m.want == ok) {
			t.Errorf("kind %d, %s: %q: got %q (done %v), want %q", k, m.name, m.text, o.Reason, o.Done, m.want)
		}
	})
}

// Whoever reads half a message must know neither less nor more about it than whoever reads the same half in one piece.
func TestSplitsChangeNothing(t *testing.T) {
	each(func(k Kind, m message) {
		in := m.bytes()
		whole := parse(k, tight, in)
		var every []int
		settled := outcome{}
		for n := range len(in) {
			if o := parse(k, tight, in, n); o != whole {
				t.Errorf("kind %d, %s: split at %d gives %+v instead of %+v", k, m.name, n, o, whole)
			}
			// The prefix alone, in one piece and byte by byte.
			prefix, dripped := parse(k, tight, in[:n]), parse(k, tight, in[:n], every...)
			if prefix != dripped {
				t.Errorf("kind %d, %s: %d bytes give %+v, byte by byte %+v", k, m.name, n, prefix, dripped)
			}
			if (settled.Done || settled.Reason != 0) && prefix != settled {
				t.Errorf("kind %d, %s: %+v became %+v after %d bytes", k, m.name, settled, prefix, n)
			}
			settled = prefix
			every = append(every, n)
		}
		if o := parse(k, tight, in, every...); o != whole {
			t.Errorf("kind %d, %s: byte by byte gives %+v instead of %+v", k, m.name, o, whole)
		}
	})
}

func TestHeadsMeanWhatTheySay(t *testing.T) {
	in := strings.ReplaceAll("¶OPTIONS https://Example.com:8443/a?b HTTP/1.4¶HOST: example.COM:8443¶Expect: 100-continue¶"+
		"Connection: x-a, close, Keep-Alive, upgrade, te¶TE: Trailers¶Upgrade:\tfoo/2 , bar ¶Content-Length: 0042¶¶rest", "¶", "\r\n")
	var p Parser
	var h Head
	if done, err := p.Parse([]byte(in), &h); !done || err != nil {
		t.Fatal(done, err)
	}
	want := `Kind=0 Minor=1 Method=6 Form=1 Status=0 Size=205 MethodName="OPTIONS" Target="https://Example.com:8443/a?b" ` +
		`Authority="Example.com:8443" Scheme="https" Origin="/a?b" Reason="" 11:"HOST"="example.COM:8443" 8:"Expect"="100-continue" ` +
		`1:"Connection"="x-a, close, Keep-Alive, upgrade, te" 19:"TE"="Trailers" 22:"Upgrade"="foo/2 , bar" 2:"Content-Length"="0042" ` +
		`Seen=4720902 Host="example.COM:8443" HasHost=true Length=42 Chunked=false Close=true KeepAlive=true Upgrade="foo/2 , bar" ` +
		`Expect100=true TETrailers=true NOptions=2 option="x-a" option="te" `
	if got := describe(&h, in); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if rest := in[h.Size:]; rest != "rest" {
		t.Errorf("behind the head stands %q", rest)
	}
}

func TestMethodsAreToldApart(t *testing.T) {
	for name, want := range map[string]Method{
		"GET": GET, "HEAD": HEAD, "POST": POST, "PUT": PUT, "DELETE": DELETE, "OPTIONS": OPTIONS, "TRACE": TRACE, "PATCH": PATCH,
		"get": MethodOther, "GETS": MethodOther, "PURGE": MethodOther,
	} {
		var p Parser
		var h Head
		if done, err := p.Parse([]byte(name+" / HTTP/1.0\r\n\r\n"), &h); !done || err != nil || h.Method != want {
			t.Errorf("%s: %d, %v, %v", name, h.Method, done, err)
		}
	}
}

func TestFormsOfTheTarget(t *testing.T) {
	for _, c := range []struct {
		line                      string
		form                      Form
		scheme, authority, origin string
	}{
		{"GET /a?b HTTP/1.0", OriginForm, "", "", "/a?b"},
		{"GET //a/b HTTP/1.0", OriginForm, "", "", "//a/b"},
		{"OPTIONS * HTTP/1.0", AsteriskForm, "", "", "*"},
		{"CONNECT a:1 HTTP/1.0", AuthorityForm, "", "a:1", ""},
		{"GET http://[::1]:8/a?b HTTP/1.0", AbsoluteForm, "http", "[::1]:8", "/a?b"},
		{"GET http://a HTTP/1.0", AbsoluteForm, "http", "a", ""},
		{"GET hTTpS://a?b/c HTTP/1.0", AbsoluteForm, "hTTpS", "a", "?b/c"},
	} {
		in := c.line + "\r\n\r\n"
		var p Parser
		var h Head
		if done, err := p.Parse([]byte(in), &h); !done || err != nil {
			t.Fatal(c.line, done, err)
		}
		if h.Form != c.form || h.Scheme.In(in) != c.scheme || h.Authority.In(in) != c.authority || h.Origin.In(in) != c.origin {
			t.Errorf("%s: %s", c.line, describe(&h, in))
		}
	}
}

func TestPersistence(t *testing.T) {
	for in, want := range map[string]bool{
		"HTTP/1.1 200¶¶":                                   true,
		"HTTP/1.1 200¶Connection: close¶¶":                 false,
		"HTTP/1.1 200¶Connection: keep-alive, x, CLOSE¶¶":  false,
		"HTTP/1.0 200¶¶":                                   false,
		"HTTP/1.0 200¶Connection: Keep-Alive¶¶":            true,
		"HTTP/1.0 200¶Connection: close, keep-alive¶¶":     false,
		"HTTP/1.7 200¶Connection: x¶¶":                     true,
		"HTTP/1.0 200¶Keep-Alive: 5¶Proxy-Connection: x¶¶": false,
	} {
		p := Parser{}
		p.Reset(Response)
		var h Head
		if done, err := p.Parse(message{text: in}.bytes(), &h); !done || err != nil {
			t.Fatal(in, err)
		}
		if h.Persistent() != want {
			t.Errorf("%s: persistent %v", in, !want)
		}
	}
}

func TestParserStaysWithItsAnswer(t *testing.T) {
	p := Parser{Limits: tight}
	var h Head
	in := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	for range 2 {
		if done, err := p.Parse(in, &h); !done || err != nil || h.Size != len(in) || len(h.Fields) != 1 {
			t.Fatal(done, err, h.Size)
		}
	}
	p.Reset(Response)
	for range 2 {
		if done, err := p.Parse(in, &h); done || err != ErrVersionInvalid {
			t.Fatal(done, err)
		}
	}
	p.Reset(Request) // and nothing of the last head is left
	in = []byte("GET / HTTP/1.0\r\n\r\n")
	if done, err := p.Parse(in, &h); !done || err != nil || h.HasHost || len(h.Fields) != 0 || p.Limits != tight {
		t.Fatal(done, err, describe(&h, string(in)))
	}
}

func TestDefaultLimits(t *testing.T) {
	head := func(fields, size int) []byte {
		s := "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A:b\r\n", fields-2)
		return []byte(s + "A:" + strings.Repeat("b", size-len(s)-6) + "\r\n\r\n")
	}
	for _, c := range []struct {
		fields, size int
		want         Reason
	}{
		{DefaultFields, DefaultHead, ok},
		{DefaultFields + 1, DefaultHead, ErrTooManyFields},
		{DefaultFields, DefaultHead + 1, ErrHeadTooLarge},
	} {
		if o := parse(Request, Limits{}, head(c.fields, c.size)); o.Reason != c.want || o.Done != (c.want == ok) {
			t.Errorf("%d fields, %d bytes: %q, done %v", c.fields, c.size, o.Reason, o.Done)
		}
	}
}

func TestEveryNamedFieldIsFound(t *testing.T) {
	for id := Other + 1; int(id) < len(fieldNames); id++ {
		for _, name := range []string{fieldNames[id], strings.ToUpper(fieldNames[id])} {
			if got := idOf([]byte(name)); name == "" || got != id {
				t.Errorf("%q: %d, want %d", name, got, id)
			}
		}
		for _, name := range []string{"~" + fieldNames[id][1:], fieldNames[id] + "x", strings.ReplaceAll(fieldNames[id], "-", "_") + "_"} {
			if got := idOf([]byte(name)); got != Other {
				t.Errorf("%q: %d", name, got)
			}
		}
	}
	if RoostRelay != FieldID(len(fieldNames)-1) {
		t.Error("a field has no name")
	}
}

func TestEveryByteClass(t *testing.T) {
	for c := range 256 {
		is := func(set string) bool { return strings.IndexByte(set, byte(c)) >= 0 }
		const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		for _, w := range []struct {
			name string
			bit  uint8
			want bool
		}{
			{"token", isToken, is(letters + "0123456789!#$%&'*+-.^_`|~")},
			{"target", isTarget, c > ' ' && c < 0x7f && c != '#'},
			{"host", isHost, is(letters + "0123456789-._~!$&'()*+;=")},
			{"IPv6", isIPv6, is("0123456789abcdefABCDEF:.")},
			{"hexadecimal", isHex, is("0123456789abcdefABCDEF")},
			{"digit", isDigit, is("0123456789")},
		} {
			if got := class[c]&w.bit != 0; got != w.want {
				t.Errorf("%q: %s %v", rune(c), w.name, got)
			}
		}
		// At every place of a word, and behind the last whole one.
		for i := range 20 {
			b := []byte("abcdefgh\xe9\tcdefghabcd")
			b[i] = byte(c)
			want := len(b)
			if c < ' ' && c != '\t' || c == 0x7f {
				want = i
			}
			if got := text(b); got != want {
				t.Errorf("text(%q) = %d, want %d", b, got, want)
			}
		}
	}
}

func TestEveryReasonIsMetAndSpeaksForItself(t *testing.T) {
	met := map[Reason]bool{}
	each(func(_ Kind, m message) { met[m.want] = true })
	for _, m := range bodies {
		met[m.want] = true
	}
	codes := map[string]bool{}
	for r := Reason(1); r < endOfReasons; r++ {
		if !met[r] {
			t.Errorf("no test meets %s", r.Code())
		}
		if r.Code() == "" || codes[r.Code()] || strings.Trim(r.Code(), "abcdefghijklmnopqrstuvwxyz_01239") != "" {
			t.Errorf("%d: code %q", r, r.Code())
		}
		codes[r.Code()] = true
		if r.Error() == "" {
			t.Errorf("%s: no words", r.Code())
		}
		switch r.Status() {
		case 400, 414, 417, 431, 501, 505:
		default:
			t.Errorf("%s: status %d", r.Code(), r.Status())
		}
	}
	if Reason(255).Error() != Reason(0).Error() || Reason(255).Code() != "none" || Reason(255).Status() != 400 {
		t.Error("an unknown reason must be harmless")
	}
}
