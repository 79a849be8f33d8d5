package h1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// chunked is a body in chunks and what becomes of it, with pilcrows as in message.
type chunked struct {
	name    string
	text    string
	want    Reason // of Next, or else of EOF
	payload string
	trailer string // name=value; each
}

func (c chunked) bytes() []byte { return message{text: c.text}.bytes() }

var bodies = []chunked{
	{"nothing", "0¶¶", ok, "", ""},
	{"two chunks", "3¶abc¶A¶0123456789¶0¶¶", ok, "abc0123456789", ""},
	{"something behind", "1¶a¶0¶¶GET /", ok, "a", ""},
	{"CRLF in the payload", "4¶¶¶¶0¶¶", ok, "\r\n\r\n", ""},
	{"16 digits", "0000000000000001¶a¶0000000000000000¶¶", ok, "a", ""},
	{"17 digits", "00000000000000001¶a¶0¶¶", ErrChunkSizeInvalid, "", ""},
	{"the largest chunk", "7fffffffffffffff¶abc", ErrTruncated, "abc", ""},
	{"larger than the largest", "8000000000000000¶abc", ErrChunkSizeTooLarge, "", ""},
	{"size that wraps around to 1", "10000000000000001¶a¶0¶¶", ErrChunkSizeInvalid, "", ""},
	{"empty size", "¶¶", ErrChunkSizeInvalid, "", ""},
	{"size of only an extension", ";a¶¶", ErrChunkSizeInvalid, "", ""},
	{"hexadecimal prefix", "0x1¶a¶0¶¶", ErrChunkSizeInvalid, "", ""},
	{"signed size", "+1¶a¶0¶¶", ErrChunkSizeInvalid, "", ""},
	{"negative size", "-1¶a¶0¶¶", ErrChunkSizeInvalid, "", ""},
	{"space before the size", " 1¶a¶0¶¶", ErrChunkSizeInvalid, "", ""},
	{"space behind the size", "1 ¶a¶0¶¶", ErrChunkSizeInvalid, "", ""},
	{"second size", "1 2¶a¶0¶¶", ErrChunkSizeInvalid, "", ""},
	{"no digit", "g¶", ErrChunkSizeInvalid, "", ""},
	{"underscore", "1_0¶", ErrChunkSizeInvalid, "", ""},
	{"NUL behind the size", "1\x00¶a¶0¶¶", ErrChunkSizeInvalid, "", ""},
	{"bare LF behind the size", "1\na¶0¶¶", ErrBareLF, "", ""},
	{"bare CR behind the size", "1\ra¶0¶¶", ErrBareCR, "", ""},
	{"extension", "1;a=b;c=\"d e\"¶a¶0;x¶¶", ok, "a", ""},
	{"white space before an extension", "1 \t;a¶a¶0¶¶", ok, "a", ""},
	{"empty extension", "1;¶a¶0¶¶", ok, "a", ""},
	{"bare LF in an extension", "1;a\nb¶a¶0¶¶", ErrBareLF, "", ""},
	{"bare LF in a quoted extension", "1;a=\"\nb\"¶a¶0¶¶", ErrBareLF, "", ""},
	{"bare CR in an extension", "1;a\rb¶a¶0¶¶", ErrBareCR, "", ""},
	{"NUL in an extension", "1;a\x00¶a¶0¶¶", ErrChunkExtensionInvalid, "", ""},
	{"extension of the limit", "1;" + strings.Repeat("a", maxChunkExt-1) + "¶a¶0¶¶", ok, "a", ""},
	{"extension of one more", "1;" + strings.Repeat("a", maxChunkExt) + "¶a¶0¶¶", ErrChunkExtensionTooLong, "", ""},
	{"white space of one more", "1" + strings.Repeat(" ", maxChunkExt+1) + ";¶a¶0¶¶", ErrChunkExtensionTooLong, "", ""},
	{"many extensions for little", strings.Repeat("1;"+strings.Repeat("a", 99)+"¶a¶", 50) + "0¶¶", ErrChunkExtensionTooLong, strings.Repeat("a", 41), ""},
	{"many extensions for much", strings.Repeat("64;"+strings.Repeat("a", 99)+"¶"+strings.Repeat("b", 100)+"¶", 50) + "0¶¶", ok, strings.Repeat("b", 5000), ""},
	{"payload too long", "1¶ab¶0¶¶", ErrChunkEndMissing, "a", ""},
	{"payload too short", "2¶a¶0¶¶", ErrChunkEndMissing, "a\r", ""},
	{"bare LF behind the payload", "1¶a\n0¶¶", ErrChunkEndMissing, "a", ""},
	{"bare CR behind the payload", "1¶a\r0¶¶", ErrChunkEndMissing, "a", ""},
	{"trailer", "1¶a¶0¶A: b¶C:\t d ¶¶", ok, "a", "A=b;C=d;"},
	{"trailer with a fold", "0¶A: b¶ c¶¶", ErrObsFold, "", "A=b;"},
	{"trailer with a space before the colon", "0¶A : b¶¶", ErrFieldNameSpace, "", ""},
	{"trailer without a colon", "0¶A¶¶", ErrFieldColonMissing, "", ""},
	{"trailer with a bad name", "0¶A@: b¶¶", ErrFieldNameInvalid, "", ""},
	{"trailer with NUL", "0¶A: \x00¶¶", ErrFieldValueInvalid, "", ""},
	{"trailer with bare CR", "0¶A: \rb¶¶", ErrBareCR, "", ""},
	{"trailer with bare LF", "0¶A: b\n¶", ErrBareLF, "", ""},
	{"bare LF at the end", "0¶\n", ErrBareLF, "", ""},
	{"bare CR at the end", "0¶\rX", ErrBareCR, "", ""},
	{"next request in place of the end", "0¶GET / HTTP/1.1¶Host: a¶¶", ErrFieldNameSpace, "", ""},
	{"trailer of the limit", "0¶A:" + strings.Repeat("b", MaxTrailer-6) + "¶¶", ok, "", "A=" + strings.Repeat("b", MaxTrailer-6) + ";"},
	{"trailer of one more", "0¶A:" + strings.Repeat("b", MaxTrailer-5) + "¶¶", ErrTrailerTooLarge, "", "A=" + strings.Repeat("b", MaxTrailer-5) + ";"},
	{"trailer line that never ends", "0¶" + strings.Repeat("b", MaxTrailer), ErrTrailerTooLarge, "", ""},
	{"64 trailer fields", "0¶" + strings.Repeat("A:¶", MaxTrailerFields) + "¶", ok, "", strings.Repeat("A=;", MaxTrailerFields)},
	{"65 trailer fields", "0¶" + strings.Repeat("A:¶", MaxTrailerFields+1) + "¶", ErrTooManyFields, "", strings.Repeat("A=;", MaxTrailerFields)},
	{"cut before the size", "", ErrTruncated, "", ""},
	{"cut in the size", "1", ErrTruncated, "", ""},
	{"cut behind the size", "1\r", ErrTruncated, "", ""},
	{"cut before the payload", "1¶", ErrTruncated, "", ""},
	{"cut in the payload", "2¶a", ErrTruncated, "a", ""},
	{"cut behind the payload", "1¶a", ErrTruncated, "a", ""},
	{"cut between chunks", "1¶a¶", ErrTruncated, "a", ""},
	{"cut before the trailer", "1¶a¶0¶", ErrTruncated, "a", ""},
	{"cut in the trailer", "1¶a¶0¶A: b", ErrTruncated, "a", ""},
	{"cut behind the trailer", "1¶a¶0¶A: b¶", ErrTruncated, "a", "A=b;"},
	{"cut in the end", "1¶a¶0¶\r", ErrTruncated, "a", ""},
}

// drained is what a body gave.
type drained struct {
	payload, trailer string
	reason           Reason // of Next, or of EOF
	used             int
	done             bool
}

// drain gives a body in[:n] for each of the cuts n in turn, then all of it, then EOF; each time in a buffer of its own, from
// the first byte that was not consumed.
func drain(b Body, in []byte, cuts ...int) (d drained) {
	for _, n := range append(cuts, len(in)) {
		for rest := bytes.Clone(in[d.used:max(d.used, n)]); ; {
			given := rest
			ev, used, payload, err := b.Next(rest)
			if used < 0 || used > len(given) || len(payload) > used {
				panic(fmt.Sprintf("used %d of %d for %d", used, len(given), len(payload)))
			}
			d.used, rest = d.used+used, rest[used:]
			d.payload += string(payload)
			if err != nil {
				d.reason = err.(Reason)
				if _, _, _, again := b.Next(rest); again != err || b.EOF() != err || b.Done() || b.Raw() != 0 {
					panic("a refused body must stay refused")
				}
				return d
			}
			if ev == TrailerField {
				name, value := b.Field.Name, b.Field.Value
				d.trailer += string(given[name.Off:name.End]) + "=" + string(given[value.Off:value.End]) + ";"
			}
			if (ev == Data) != (len(payload) > 0) || ev != NeedMore && ev != End && used == 0 {
				panic("an event without progress")
			}
			if (ev == End) != b.Done() && ev != Data {
				panic("Done and End disagree")
			}
			if ev == End {
				d.done = true
				return d
			}
			if ev == NeedMore {
				break
			}
		}
	}
	if err := b.EOF(); err != nil {
		d.reason = err.(Reason)
		return d
	}
	d.done = b.Done()
	return d
}

func TestChunksAreDecodedOrRefusedForTheRightReason(t *testing.T) {
	for _, c := range bodies {
		d := drain(Body{Framing: ByChunks}, c.bytes())
		if d.reason != c.want || d.done != (c.want == ok) || d.payload != c.payload || d.trailer != c.trailer {
			t.Errorf("%s: %.99q: got %+v, want %q %q %q", c.name, c.text, d, c.want, c.payload, c.trailer)
		}
	}
}

func TestSplitsOfBodiesChangeNothing(t *testing.T) {
	for _, c := range bodies {
		in := c.bytes()
		whole := drain(Body{Framing: ByChunks}, in)
		same := func(d drained) bool {
			if whole.reason != 0 { // how much of a line that is wrong or cut off was consumed does not matter
				d.used = whole.used
			}
			return d == whole
		}
		step := 1 + len(in)/512 // the long ones are dull
		var every []int
		for n := 0; n < len(in); n += step {
			if d := drain(Body{Framing: ByChunks}, in, n); !same(d) {
				t.Errorf("%s: split at %d gives %+v instead of %+v", c.name, n, d, whole)
			}
			every = append(every, n)
		}
		if d := drain(Body{Framing: ByChunks}, in, every...); !same(d) {
			t.Errorf("%s: byte by byte gives %+v instead of %+v", c.name, d, whole)
		}
	}
}

func TestBytesBehindTheEndAreLeft(t *testing.T) {
	for _, c := range []struct {
		body Body
		text string
		rest string
	}{
		{Body{}, "next", "next"},
		{Body{Framing: ByLength, left: 3}, "abcnext", "next"},
		{Body{Framing: ByLength}, "next", "next"},
		{Body{Framing: ByChunks}, "3\r\nabc\r\n0\r\n\r\nnext", "next"},
		{Body{Framing: ByChunks}, "0\r\nA: b\r\n\r\n\r\nnext", "\r\nnext"},
		{Body{Framing: ByClose}, "next", ""},
		{Body{Framing: Tunnel}, "next", ""},
	} {
		for n := range len(c.text) {
			if d := drain(c.body, []byte(c.text), n); !d.done || d.reason != 0 || c.text[d.used:] != c.rest {
				t.Errorf("%d %q split at %d: %+v", c.body.Framing, c.text, n, d)
			}
		}
	}
}

func TestFramingOfMessages(t *testing.T) {
	head := func(k Kind, text string) *Head {
		p := Parser{}
		p.Reset(k)
		h := &Head{}
		if done, err := p.Parse(message{text: text}.bytes(), h); !done || err != nil {
			t.Fatal(text, err)
		}
		return h
	}
	for _, c := range []struct {
		text string
		want Framing
		raw  int64
	}{
		{"GET / HTTP/1.0¶¶", NoBody, 0},
		{"POST / HTTP/1.0¶¶", NoBody, 0},
		{"GET / HTTP/1.0¶Content-Length: 5¶¶", ByLength, 5},
		{"HEAD / HTTP/1.0¶Content-Length: 5¶¶", ByLength, 5},
		{"POST / HTTP/1.0¶Content-Length: 0¶¶", ByLength, 0},
		{"POST / HTTP/1.1¶Host: a¶Transfer-Encoding: chunked¶¶", ByChunks, 0},
	} {
		if b := RequestBody(head(Request, c.text)); b.Framing != c.want || b.Raw() != c.raw {
			t.Errorf("%s: %d, %d bytes", c.text, b.Framing, b.Raw())
		}
	}
	for _, c := range []struct {
		text   string
		method Method
		want   Framing
		raw    int64
	}{
		{"HTTP/1.1 200¶¶", GET, ByClose, -1},
		{"HTTP/1.1 200¶¶", HEAD, NoBody, 0},
		{"HTTP/1.1 200¶Content-Length: 5¶¶", GET, ByLength, 5},
		{"HTTP/1.1 200¶Content-Length: 5¶¶", HEAD, NoBody, 0},
		{"HTTP/1.1 200¶Transfer-Encoding: chunked¶¶", MethodOther, ByChunks, 0},
		{"HTTP/1.1 200¶Transfer-Encoding: chunked¶¶", HEAD, NoBody, 0},
		{"HTTP/1.1 200¶Content-Length: 5¶¶", CONNECT, Tunnel, -1},
		{"HTTP/1.1 407¶Content-Length: 5¶¶", CONNECT, ByLength, 5},
		{"HTTP/1.1 101¶¶", GET, Tunnel, -1},
		{"HTTP/1.1 100¶¶", POST, NoBody, 0},
		{"HTTP/1.1 204¶¶", DELETE, NoBody, 0},
		{"HTTP/1.1 204¶Content-Length: 0¶¶", DELETE, NoBody, 0},
		{"HTTP/1.1 304¶Content-Length: 5¶¶", GET, NoBody, 0},
		{"HTTP/1.1 304¶Transfer-Encoding: chunked¶¶", GET, NoBody, 0},
		{"HTTP/1.1 205¶¶", GET, ByClose, -1},
	} {
		if b := ResponseBody(head(Response, c.text), c.method); b.Framing != c.want || b.Raw() != c.raw {
			t.Errorf("%s: %d, %d bytes", c.text, b.Framing, b.Raw())
		}
	}
}

func TestRawPayloadMayBeMovedUnseen(t *testing.T) {
	b := Body{Framing: ByLength, left: 5}
	b.Skip(2)
	if ev, used, payload, err := b.Next([]byte("cdeX")); ev != Data || used != 3 || string(payload) != "cde" || err != nil || !b.Done() {
		t.Error(ev, used, payload, err)
	}

	b = Body{Framing: ByChunks}
	if ev, used, _, err := b.Next([]byte("5\r\n")); ev != NeedMore || used != 3 || err != nil || b.Raw() != 5 {
		t.Error(ev, used, err, b.Raw())
	}
	b.Skip(5)
	if b.Raw() != 0 || b.Done() || b.EOF() != ErrTruncated {
		t.Error("behind a chunk its end is due")
	}

	b = Body{Framing: ByClose}
	b.Skip(1 << 40)
	if b.Raw() != -1 || b.Done() || b.EOF() != nil || !b.Done() || b.Raw() != 0 {
		t.Error("only the end ends it")
	}
}

func TestSkippingMoreThanPayloadPanics(t *testing.T) {
	for _, b := range []Body{{}, {Framing: ByLength, left: 4}, {Framing: ByChunks}, {Framing: ByChunks, part: inData, left: 4}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v: no panic", b)
				}
			}()
			b.Skip(5)
		}()
	}
}

func TestRestThatIsNotGivenAgainIsWaitedFor(t *testing.T) {
	b := Body{Framing: ByChunks}
	if ev, used, _, err := b.Next([]byte("0\r\nA: b")); ev != NeedMore || used != 3 || err != nil {
		t.Fatal(ev, used, err)
	}
	if ev, used, _, err := b.Next(nil); ev != NeedMore || used != 0 || err != nil {
		t.Fatal(ev, used, err)
	}
	if ev, used, _, err := b.Next([]byte("A: bc\r\n")); ev != TrailerField || used != 7 || err != nil {
		t.Fatal(ev, used, err)
	}
}

func TestAppendedChunksAreReadBack(t *testing.T) {
	out := AppendChunk(nil, 26)
	out = append(out, "abcdefghijklmnopqrstuvwxyz\r\n"...)
	out = AppendChunk(out, 1)
	out = append(out, "!\r\n"...)
	out = AppendLastChunk(out)
	out = AppendField(out, "A", "b c")
	out = AppendField(out, "D", "")
	out = append(out, "\r\n"...)
	want := drained{payload: "abcdefghijklmnopqrstuvwxyz!", trailer: "A=b c;D=;", used: len(out), done: true}
	if d := drain(Body{Framing: ByChunks}, out); d != want {
		t.Errorf("%q gives %+v", out, d)
	}
	defer func() {
		if recover() == nil {
			t.Error("a chunk of 0 bytes would end the body")
		}
	}()
	AppendChunk(nil, 0)
}

func TestTrailersThatMayNotStandThere(t *testing.T) {
	for _, name := range []string{
		"Content-Length", "transfer-encoding", "Host", "Connection", "TE", "Trailer", "Upgrade", "Keep-Alive", "Via", "Forwarded",
		"X-Forwarded-For", "Expect", "Max-Forwards", "Cookie", "Content-Type", "Date", "Retry-After", "Roost-Relay", "Early-Data",
		"Authorization", "WWW-Authenticate", "Set-Cookie", "Cache-Control", "Range", "If-Match", "IF-NONE-MATCH", "Content-Encoding",
		"Content-Range", "Age", "Expires", "Location", "Pragma", "Vary", "Warning", "XXX-FXLB-Wait",
	} {
		if TrailerAllowed(name, idOf([]byte(name))) {
			t.Errorf("%s may stand in a trailer section", name)
		}
	}
	for _, name := range []string{"Grpc-Status", "ETag", "Digest", "Server-Timing", "X", "If", "Endpoint-Load-Metrics", "endpoint-load-metrics-bin"} {
		if !TrailerAllowed(name, idOf([]byte(name))) {
			t.Errorf("%s may not stand in a trailer section", name)
		}
	}
}
