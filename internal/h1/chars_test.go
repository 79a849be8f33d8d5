package h1

import (
	"math/rand/v2"
	"testing"
)

// What looks at eight bytes at once says the same as what looks at one.
func TestBytesByEightsAreAsBytesByOnes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	const often = "abcXYZ-:\x00 \t\r\n~\x7f\x80\xff_9!"
	for range 200_000 {
		b := make([]byte, rnd.IntN(40))
		for i := range b {
			b[i] = often[rnd.IntN(6)]
			if rnd.IntN(20) == 0 {
				b[i] = byte(rnd.IntN(256))
			}
			if rnd.IntN(20) == 0 {
				b[i] = often[rnd.IntN(len(often))]
			}
		}
		if got, want := target(b), span(b, isTarget); got != want {
			t.Fatalf("target(%q) = %d, want %d", b, got, want)
		}
		want := 0
		for want < len(b) && isText(b[want]) {
			want++
		}
		if got := text(b); got != want {
			t.Fatalf("text(%q) = %d, want %d", b, got, want)
		}
	}
}
