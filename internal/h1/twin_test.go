package h1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The twins below read whole messages with regular expressions and splitting. They are slow, want all bytes at once, give
// no reasons, and are short enough to be believed.

// latin makes each byte a rune of its own, so that regular expressions see bytes.
func latin(b []byte) string {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

const tchar = "[-!#$%&'*+.^_`|~0-9A-Za-z]"

var (
	requestLine = regexp.MustCompile("^(" + tchar + "{1,32}) ([!\"$-~]+) HTTP/1\\.([0-9])$")
	statusLine  = regexp.MustCompile("^HTTP/1\\.([0-9]) ([1-5][0-9][0-9])(?: ([\t -~\u0080-\u00ff]*))?$")
	line        = regexp.MustCompile("^(" + tchar + "+):[ \t]*((?:[!-~\u0080-\u00ff](?:[\t -~\u0080-\u00ff]*[!-~\u0080-\u00ff])?)?)[ \t]*$")
	hostport    = regexp.MustCompile(`^([-0-9A-Za-z._~!$&'()*+;=]+|\[[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f.:]*\])(?::([0-9]{1,5}))?$`)
	uri         = regexp.MustCompile(`^(?i:(https?))://([^/?@]+)([/?].*)?$`)
	tokens      = regexp.MustCompile("^" + tchar + "*$")
	protocol    = regexp.MustCompile("^(" + tchar + "+(/" + tchar + "+)?)?$")
	digits      = regexp.MustCompile("^[0-9]{1,18}$")
	sizeLine    = regexp.MustCompile("^([0-9A-Fa-f]{1,16})([ \t]*;[\t -~\u0080-\u00ff]*)?$")
)

// twin is a head as the twin read it.
type twin struct {
	size                                              int
	start                                             []string // method, target, minor; or minor, status, phrase
	fields                                            [][2]string
	form                                              Form
	scheme, authority, origin                         string
	length                                            int64
	chunked, close, keepAlive, expect, trailers, host bool
	upgrade                                           string
	options                                           []string
}

// values are those of all fields of a name.
func (w *twin) values(name string) (vs []string) {
	for _, f := range w.fields {
		if strings.EqualFold(f[0], name) {
			vs = append(vs, f[1])
		}
	}
	return vs
}

func (w *twin) list(name string) (els []string) {
	for _, v := range w.values(name) {
		for el := range strings.SplitSeq(v, ",") {
			els = append(els, strings.Trim(el, " \t"))
		}
	}
	return els
}

func sameHost(host, authority string, port string) bool {
	h, a := hostport.FindStringSubmatch(host), hostport.FindStringSubmatch(authority)
	number := func(s string) int {
		if s == "" {
			s = port
		}
		n, _ := strconv.Atoi(s)
		return n
	}
	return strings.EqualFold(h[1], a[1]) && number(h[2]) == number(a[2])
}

func validHost(s string) bool {
	m := hostport.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	n, _ := strconv.Atoi(m[2])
	return n <= 65535
}

// read is the whole of the twin: a head that h1 must accept with just this meaning, or ok is false and it must not.
func read(k Kind, l Limits, in []byte) (w twin, ok bool) {
	text := latin(in)
	before := 0
	if k == Request && strings.HasPrefix(text, "\r\n") {
		before = 2
	}
	head, _, found := strings.Cut(text[before:], "\r\n\r\n")
	w.size = before + len([]rune(head)) + 4
	if !found || w.size > l.Head {
		return w, false
	}
	lines := strings.Split(head, "\r\n")
	if k == Request {
		w.start = requestLine.FindStringSubmatch(lines[0])
	} else {
		w.start = statusLine.FindStringSubmatch(lines[0])
	}
	if w.start == nil || len(lines)-1 > l.Fields {
		return w, false
	}
	w.start = w.start[1:]
	for _, s := range lines[1:] {
		m := line.FindStringSubmatch(s)
		if m == nil {
			return w, false
		}
		w.fields = append(w.fields, [2]string{m[1], m[2]})
	}
	minor, method, status := w.start[0], "", w.start[1]
	if k == Request {
		minor, method, status = w.start[2], w.start[0], ""
	}
	old := minor == "0"

	w.length = -1
	if v := w.values("Content-Length"); len(v) > 1 || len(v) == 1 && !digits.MatchString(v[0]) {
		return w, false
	} else if len(v) == 1 {
		w.length, _ = strconv.ParseInt(v[0], 10, 64)
	}
	if v := w.values("Transfer-Encoding"); len(v) > 1 || len(v) == 1 && (!strings.EqualFold(v[0], "chunked") || old || w.length >= 0) {
		return w, false
	} else if len(v) == 1 {
		w.chunked = true
	}
	bodyless := method == "TRACE" || method == "CONNECT" || status == "204" || strings.HasPrefix(status, "1")
	if bodyless && (w.chunked || w.length > 0) {
		return w, false
	}

	asked := false
	for _, o := range w.list("Connection") {
		switch name := strings.ToLower(o); {
		case !tokens.MatchString(o):
			return w, false
		case o == "":
		case name == "close":
			w.close = true
		case name == "keep-alive":
			w.keepAlive = true
		case name == "upgrade":
			asked = true
		default:
			id := idOf([]byte(o))
			mine := []FieldID{Other, Connection, HTTP2Settings, KeepAlive, ProxyAuthenticate, ProxyAuthorization, ProxyConnection, TE, Trailer}
			if !slices.Contains(mine, id) {
				return w, false
			}
			w.options = append(w.options, o)
		}
	}
	if len(w.options) > 8 {
		return w, false
	}
	if v := w.values("Upgrade"); len(v) > 0 && asked && !old {
		bad := len(v) > 1
		for _, p := range w.list("Upgrade") {
			bad = bad || !protocol.MatchString(p)
		}
		if bad && (k == Request || status == "101") {
			return w, false
		}
		if !bad {
			w.upgrade = v[0]
		}
	}
	if k == Response {
		return w, true
	}

	for _, v := range w.values("Expect") {
		if !old && !strings.EqualFold(v, "100-continue") {
			return w, false
		}
		w.expect = !old
	}
	for _, v := range w.list("TE") {
		w.trailers = w.trailers || strings.EqualFold(v, "trailers")
	}
	target, port := w.start[1], "80"
	w.origin = target
	switch m := uri.FindStringSubmatch(target); {
	case method == "CONNECT":
		w.form, w.authority, w.origin = AuthorityForm, target, ""
		h := hostport.FindStringSubmatch(target)
		if !validHost(target) || h[2] == "" {
			return w, false
		}
		port = h[2]
	case target[0] == '/':
	case target == "*" && method == "OPTIONS":
		w.form = AsteriskForm
	case m != nil && validHost(m[2]):
		w.form, w.scheme, w.authority, w.origin = AbsoluteForm, m[1], m[2], m[3]
		if len(w.scheme) == 5 {
			port = "443"
		}
	default:
		return w, false
	}
	hosts := w.values("Host")
	w.host = len(hosts) == 1
	switch {
	case len(hosts) > 1, len(hosts) == 0 && !old:
		return w, false
	case len(hosts) == 0:
	case hosts[0] == "":
		return w, w.form == AsteriskForm
	case !validHost(hosts[0]), w.authority != "" && !sameHost(hosts[0], w.authority, port):
		return w, false
	}
	return w, true
}

// compare tells how the parser and its twin differ on a head.
func compare(k Kind, l Limits, in []byte) error {
	p := Parser{Limits: l}
	p.Reset(k)
	var h Head
	done, err := p.Parse(in, &h)
	w, accepted := read(k, l, in)
	if done != accepted {
		return fmt.Errorf("done %v, %v; the twin says %v", done, err, accepted)
	}
	if !done {
		return nil
	}
	get := func(s Span) string { return latin(in[s.Off:s.End]) }
	got := twin{
		size: h.Size, form: h.Form, scheme: get(h.Scheme), authority: get(h.Authority), origin: get(h.Origin), length: h.Length,
		chunked: h.Chunked, close: h.Close, keepAlive: h.KeepAlive, expect: h.Expect100, trailers: h.TETrailers, host: h.HasHost,
		upgrade: get(h.Upgrade), start: []string{get(h.MethodName), get(h.Target), ""},
	}
	minor := &got.start[2]
	if k == Response {
		got.start = []string{"", strconv.Itoa(int(h.Status)), get(h.Reason)}
		minor = &got.start[0]
	}
	*minor = strconv.Itoa(int(h.Minor))
	if m := slices.Index([]string{"2", "3", "4", "5", "6", "7", "8", "9"}, w.start[2*(1-int(k))]); m >= 0 {
		w.start[2*(1-int(k))] = "1"
	}
	for _, f := range h.Fields {
		got.fields = append(got.fields, [2]string{get(f.Name), get(f.Value)})
	}
	for _, o := range h.ConnOptions[:h.NOptions] {
		got.options = append(got.options, get(o))
	}
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", w); a != b {
		return fmt.Errorf("got\n%s, the twin has\n%s", a, b)
	}
	return nil
}

// unchunk is the twin of a chunked Body. complete is false when the message is cut off or wrong.
func unchunk(in []byte) (payload, trailer string, used int, complete bool) {
	text, ahead := string(in), 0
	for {
		size, rest, found := strings.Cut(text, "\r\n")
		m := sizeLine.FindStringSubmatch(latin([]byte(size)))
		if !found || m == nil {
			return
		}
		n, err := strconv.ParseInt(m[1], 16, 64)
		ext := len(size) - len(m[1])
		if err != nil || ext > 256 || ahead+ext > 4096 {
			return
		}
		ahead = int(max(0, int64(ahead+ext)-n))
		text = rest
		if n == 0 {
			break
		}
		payload += text[:min(n, int64(len(text)))]
		if int64(len(text))-2 < n || text[n:n+2] != "\r\n" {
			return
		}
		text = text[n+2:]
	}
	for left, fields := 8192, 0; ; fields++ {
		l, rest, found := strings.Cut(text, "\r\n")
		if left -= len(l) + 2; !found || left < 0 {
			return
		}
		text = rest
		if l == "" {
			return payload, trailer, len(in) - len(text), true
		}
		m := line.FindStringSubmatch(latin([]byte(l)))
		if m == nil || fields == 64 {
			return
		}
		// Back from runes to bytes.
		value := strings.Trim(l[len(m[1])+1:], " \t")
		trailer += m[1] + "=" + value + ";"
	}
}

func compareBody(in []byte) error {
	d := drain(Body{Framing: ByChunks}, in)
	payload, trailer, used, complete := unchunk(in)
	if d.done != complete || d.payload != payload || d.trailer != trailer || complete && d.used != used {
		return fmt.Errorf("%+v; the twin has %q %q, %d bytes, complete %v", d, payload, trailer, used, complete)
	}
	return nil
}

// standard tells where net/http, whatever else it accepts, reads a request that h1 accepts in another way.
func standard(l Limits, in []byte) error {
	p := Parser{Limits: l}
	var h Head
	if done, _ := p.Parse(in, &h); !done {
		return nil
	}
	d := drain(RequestBody(&h), in[h.Size:])
	if !d.done {
		return nil
	}
	text := string(in)
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.TrimPrefix(text, "\r\n"))))
	var target *url.Error
	switch {
	case errors.As(err, &target), err != nil && strings.Contains(err.Error(), "bad trailer key"):
		return nil // it reads more into the target and into Trailer
	case err != nil:
		return err
	}
	fields, theirs := map[string][]string{}, map[string][]string{}
	for _, f := range h.Fields {
		if f.ID != Host && f.ID != Trailer && f.ID != TransferEncoding {
			name := http.CanonicalHeaderKey(f.Name.In(text))
			fields[name] = append(fields[name], f.Value.In(text))
		}
	}
	for name, v := range r.Header {
		if name != "Trailer" && (name != "Cache-Control" || fields[name] != nil) { // it derives Cache-Control from Pragma
			theirs[name] = v
		}
	}
	host := h.Host.In(text)
	if h.Authority.Len() > 0 {
		host = h.Authority.In(text)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil && regexp.MustCompile("(?m)^[0-9A-Fa-f]+[ \t]+;").Match(in[h.Size:]) {
		return nil // it does not bear white space before chunk extensions
	}
	got := fmt.Sprintf("%q %q %d %q %q %q %v", h.MethodName.In(text), h.Target.In(text), h.Minor, host, fields, d.payload, h.Chunked)
	want := fmt.Sprintf("%q %q %d %q %q %q %v", r.Method, r.RequestURI, min(r.ProtoMinor, 1), r.Host, theirs, body, slices.Equal(r.TransferEncoding, []string{"chunked"}))
	if got != want || err != nil {
		return fmt.Errorf("got\n%s, net/http has\n%s, %v; of %q", got, want, err, text)
	}
	return nil
}

// write makes a head of an accepted one's parts, as a proxy would.
func write(h *Head, text string) []byte {
	out := []byte(fmt.Sprintf("HTTP/1.%d %03d %s\r\n", h.Minor, h.Status, h.Reason.In(text)))
	if h.Kind == Request {
		out = []byte(fmt.Sprintf("%s %s HTTP/1.%d\r\n", h.MethodName.In(text), h.Target.In(text), h.Minor))
	}
	for _, f := range h.Fields {
		out = AppendField(out, f.Name.In(text), f.Value.In(text))
	}
	return append(out, "\r\n"...)
}

// rewritten tells how a head that was taken apart and put together again differs.
func rewritten(k Kind, l Limits, in []byte) error {
	p := Parser{Limits: l}
	p.Reset(k)
	var h, again Head
	if done, _ := p.Parse(in, &h); !done {
		return nil
	}
	out := write(&h, string(in))
	p = Parser{Limits: Limits{Head: 4*l.Head + 100, Fields: l.Fields}}
	p.Reset(k)
	if done, err := p.Parse(out, &again); !done || err != nil || again.Size != len(out) {
		return fmt.Errorf("%q: %v, %v", out, done, err)
	}
	h.Size = again.Size
	if a, b := describe(&h, string(in)), describe(&again, string(out)); a != b {
		return fmt.Errorf("%s\nbecame\n%s", a, b)
	}
	return nil
}

func TestTablesAgreeWithTheTwins(t *testing.T) {
	each(func(k Kind, m message) {
		in := m.bytes()
		if err := errors.Join(compare(k, tight, in), rewritten(k, tight, in)); err != nil {
			t.Errorf("kind %d, %s: %q: %v", k, m.name, m.text, err)
		}
		if err := standard(tight, append(in, "12345\r\n0\r\n\r\n"...)); k == Request && err != nil {
			t.Errorf("%s: %q: %v", m.name, m.text, err)
		}
	})
	for _, c := range bodies {
		if err := compareBody(c.bytes()); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// deal makes messages of pieces, most of them good, and sometimes breaks a byte.
type deal struct{ *rand.Rand }

func (d deal) one(of string) string {
	all := strings.Split(of, "¦")
	return strings.ReplaceAll(all[d.IntN(len(all))], "¶", "\r\n")
}

// most takes one of the first five times out of six.
func (d deal) most(good, odd string) string {
	if d.IntN(6) > 0 {
		return d.one(good)
	}
	return d.one(odd)
}

func (d deal) fields() (s string) {
	for range d.IntN(6) {
		switch name := d.most("X¦Y-Z¦~¦Connection", "content-length¦transfer-encoding¦Upgrade¦te¦Host¦Expect¦Content-Length ¦Keep-Alive"); name {
		case "Connection", "Upgrade":
			s += name + ": " + d.most("close¦keep-alive,upgrade¦Close, x , te¦h2c/1,a", "host¦a b¦a,b,c,d,e,f,g,h¦i,j")
		case "transfer-encoding":
			s += name + ": " + d.most("chunked¦Chunked ", "gzip, chunked¦chunked, chunked¦")
		case "content-length":
			s += name + ":" + d.most("5¦ 0 ", "5,5¦+5¦")
		default:
			s += name + d.one(":¦: ¦:\t ¦:") + d.one("¦a¦100-continue¦trailers¦a.example¦[::1]:9¦b\tc \xff¦\"q\"¦long long long long long long")
		}
		s += d.most("¶", "¶¦ ¶¦\n¦¶ ¦\t¶")
	}
	return s
}

func (d deal) head(k Kind) []byte {
	s := d.most("HTTP/1.1¦HTTP/1.0", "HTTP/1.5¦HTTP/2.0") + " " + d.most("200¦204¦101¦304", "100¦999¦42") + d.most(" OK¦ ¦", " Not \tFound¦x") + d.most("¶", "\n")
	if k == Request {
		s = d.most("", "¶¦¶¶") + d.most("GET¦POST¦OPTIONS", "CONNECT¦TRACE¦get¦M-X") + d.most(" ", "¦  ") +
			d.most("/¦/a/b?c=d¦http://a.example/x", "*¦https://a.example:443¦http://A.example?q¦a.example:80¦[::1]:9¦//a¦/é¦http://u@a/¦/#") +
			d.most(" ", "¦\t¦ ") + d.most("HTTP/1.1¦HTTP/1.1¦HTTP/1.0¦HTTP/1.7", "HTTP/2.0¦") + "\r\n" +
			d.most("Host: a.example¶", "Host: a.EXAMPLE:80¶¦host:[::1]¶¦Host:¶¦")
	}
	return d.dent(s + d.fields() + "\r\n" + d.one("¦next"))
}

func (d deal) chunks() []byte {
	s := ""
	for range d.IntN(4) {
		n := 1 + d.IntN(40)
		s += fmt.Sprintf(d.one("%x¦%X¦%02x"), n) + d.most("¦;a¦ ;b=c", " ¦;\"x y\"") + "\r\n" + strings.Repeat(d.one("a¦\r¦\n¦0"), n) + d.most("¶", "¦\n")
	}
	return d.dent(s + d.most("0¦000¦0;x", "¦00 ") + "\r\n" + d.fields() + "\r\n" + d.one("¦next"))
}

// dent breaks a byte of every third message.
func (d deal) dent(s string) []byte {
	b := []byte(s)
	if d.IntN(3) > 0 {
		return b
	}
	i := d.IntN(len(b))
	odd := "\x00\r\n\t :;,/@\x7f\x80#%[]1aA"
	switch c := odd[d.IntN(len(odd))]; d.IntN(4) {
	case 0:
		return append(b[:i], b[i+1:]...)
	case 1:
		return slices.Insert(b, i, c)
	case 2:
		return b[:i]
	default:
		b[i] = c
	}
	return b
}

func TestRandomMessagesAgreeWithTheTwins(t *testing.T) {
	d := deal{rand.New(rand.NewPCG(1, 2))}
	l := Limits{Head: 200, Fields: 5}
	accepted := map[string]int{}
	for range 8000 {
		for _, k := range []Kind{Request, Response} {
			in := d.head(k)
			whole := parse(k, l, in)
			if whole.Done {
				accepted[fmt.Sprint("heads of kind ", k)]++
			}
			if err := errors.Join(compare(k, l, in), rewritten(k, l, in)); err != nil {
				t.Fatalf("kind %d: %q: %v", k, in, err)
			}
			if o := parse(k, l, in, d.IntN(len(in)+1)); o != whole {
				t.Fatalf("kind %d: %q: split %+v, whole %+v", k, in, o, whole)
			}
			if err := standard(l, append(bytes.TrimSuffix(in, []byte("next")), d.chunks()...)); k == Request && err != nil {
				t.Fatalf("%q: %v", in, err)
			}
		}
		in := d.chunks()
		if drain(Body{Framing: ByChunks}, in).done {
			accepted["bodies"]++
		}
		if err := compareBody(in); err != nil {
			t.Fatalf("%q: %v", in, err)
		}
	}
	for what, n := range accepted {
		if n < 1000 {
			t.Errorf("only %d %s were accepted: the test proves little", n, what)
		}
	}
	t.Log(accepted)
}
