package h1

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestLinesThatAreCopiedTogetherAreAsIfEachWereWritten(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	kinds := []string{"A: b", "Long-Name: some value", "A:b", "A:  b", "A: b ", "A:\tb", "A:", "A: ", "A:  ", "Via: 1.1 x"}
	for range 2000 {
		text := "GET / HTTP/1.1\r\nHost: h\r\n"
		for range rnd.IntN(6) {
			text += kinds[rnd.IntN(len(kinds))] + "\r\n"
		}
		text += "\r\n"
		var p Parser
		var h Head
		if done, err := p.Parse([]byte(text), &h); !done || err != nil {
			t.Fatal(done, err)
		}
		lines := Lines{Text: text}
		var got, want []byte
		for i := range h.Fields {
			f := &h.Fields[i]
			switch rnd.IntN(5) {
			case 0: // left out
			case 1:
				got = append(lines.Flush(got), "X: y\r\n"...)
				want = append(want, "X: y\r\n"...)
			default:
				got = lines.Append(got, f)
				want = AppendField(want, f.Name.In(text), f.Value.In(text))
			}
		}
		if got = lines.Flush(got); string(got) != string(want) {
			t.Fatalf("of %q: got %q, want %q", text, got, want)
		}
	}
}

func TestEightBytesAtOnceAreAsOneByOne(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 20_000 {
		b := make([]byte, rnd.IntN(40))
		for i := range b {
			b[i] = byte('!' + rnd.IntN('~'-'!'))
		}
		for range rnd.IntN(4) {
			if len(b) > 0 {
				b[rnd.IntN(len(b))] = byte(rnd.IntN(256))
			}
		}
		if got, want := target(b), span(b, isTarget); got != want {
			t.Fatalf("%q: a target of %d, not %d", b, got, want)
		}
		want := 0
		for want < len(b) && isText(b[want]) {
			want++
		}
		if got := text(b); got != want {
			t.Fatalf("%q: a text of %d, not %d", b, got, want)
		}
	}
}

func TestAHeadKnowsWhichFieldsItHas(t *testing.T) {
	for id := Other + 1; id <= RoostRelay; id++ {
		var p Parser
		var h Head
		p.Reset(Response)
		text := "HTTP/1.1 200 OK\r\n" + strings.ToUpper(fieldNames[id]) + ": chunked\r\nX: y\r\n\r\n"
		if id == ContentLength {
			text = strings.Replace(text, "chunked", "1", 1)
		}
		if done, err := p.Parse([]byte(text), &h); !done || err != nil {
			t.Fatalf("%q: %v, %v", text, done, err)
		}
		if h.Seen != 1<<id || !h.Seen.Has(id) || h.Seen.Has(Other) {
			t.Errorf("%q: %b", text, h.Seen)
		}
	}
}
