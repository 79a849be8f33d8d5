package access

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// decoded is what a reader makes of the JSON string in b.
func decoded(t *testing.T, b []byte) string {
	t.Helper()
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return s
}

// FuzzAppendString compares with encoding/json: the same meaning, and a prefix of it when it was cut.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", `q"b\`, "a\xffb\xc3", "\x00\x1b[31m\x7f", "\u009b\u2028\u2029", "grün 日本 🐓",
		"\ufffd", "\xed\xa0\x80", strings.Repeat("x", 30), "cut within é"} {
		f.Add(s, 16)
		f.Add(s, 1000)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = int(uint(limit) % 4096)
		got := appendString(nil, s, limit)
		if string(got) != string(appendString(nil, []byte(s), limit)) {
			t.Fatalf("%q: bytes and strings differ", s)
		}
		if len(got) > maxEscaped(limit) {
			t.Fatalf("%q: %d bytes over a limit of %d", s, len(got), limit)
		}
		for _, r := range string(got) {
			if unicode.IsControl(r) {
				t.Fatalf("%q: control character %U", got, r)
			}
		}
		if !utf8.Valid(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		twin, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		want, have := decoded(t, twin), decoded(t, got)
		if whole := appendString(nil, s, math.MaxInt/2); len(whole) <= limit+len(`""`) {
			if have != want {
				t.Fatalf("%q: means %q, want %q", s, have, want)
			}
			return
		}
		text, ok := strings.CutSuffix(have, cut)
		if !ok || !strings.HasPrefix(want, text) {
			t.Fatalf("%q with a limit of %d: %q is no prefix of %q with a mark", s, limit, have, want)
		}
		if next := len(`\u0000`); len(got) < limit-next {
			t.Fatalf("%q with a limit of %d: cut at %d already", s, limit, len(got))
		}
	})
}

// maxEscaped is how long the JSON of a string with a limit can become: quotes and the mark included.
func maxEscaped(limit int) int { return limit + len(cut) + len(`""`) }

func TestTimesAreRFC3339WithMilliseconds(t *testing.T) {
	for _, nanos := range []int64{0, 1, 999_999, 1_000_000, 1_795_176_000_999_999_999, 951_782_399_000_000_000, -1,
		math.MaxInt64, math.MinInt64} {
		want := time.Unix(0, nanos).UTC().Format("2006-01-02T15:04:05.000Z07:00")
		if got := string(appendTime(nil, nanos)); got != want {
			t.Errorf("%d: %s, want %s", nanos, got, want)
		}
	}
}
