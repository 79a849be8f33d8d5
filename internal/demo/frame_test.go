package demo

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func before() state {
	s := state{o: Options{For: 20 * time.Second}.withDefaults(), at: 4 * time.Second, victim: 1,
		warm: [2][]int{{41, 45, 33, 32, 35}, {80, 80, 80, 80, 79}}}
	s.Roost = Side{Calls: 1539, Called: 186, Cold: 186, P50: 912 * time.Microsecond, P99: 253 * time.Millisecond, PerSecond: []int{111, 49, 18, 8}}
	s.RoundRobin = Side{Calls: 1517, Failed: 2, Called: 186, Cold: 581, P50: 1240 * time.Microsecond, P99: 2580 * time.Millisecond,
		PerSecond: []int{220, 131, 130, 0}}
	return s
}

func after() state {
	s := before()
	s.at, s.killed = 20*time.Second, true
	s.warm[sideRoost][1], s.warm[sideRobin][1] = -1, -1
	s.Roost.Kill = &Kill{At: 10 * time.Second, Cold: 198, Called: 198, P50: time.Millisecond, P99: 43400 * time.Microsecond, Homes: 48, Back: 47,
		Restarts: 47, First: 2}
	s.Roost.Calls, s.Roost.Cold, s.Roost.Called = 7954, 247, 200
	s.RoundRobin.Kill = &Kill{At: 10 * time.Second, Cold: 1186, Called: 198, P50: 1400 * time.Microsecond, P99: 271 * time.Millisecond}
	s.RoundRobin.Calls, s.RoundRobin.Cold, s.RoundRobin.Called, s.RoundRobin.Late = 7954, 2286, 200, 120
	return s
}

func TestFramesAndSummaries(t *testing.T) {
	golden(t, "before.golden", strings.Join(frame(before(), false), "\n")+"\n\n"+summary(before()))
	golden(t, "after.golden", strings.Join(frame(after(), false), "\n")+"\n\n"+summary(after()))
	golden(t, "plain.golden", plainHead+plainLine(before())+plainLine(after()))
}

func TestAFrameFitsATerminalAndNeverChangesItsHeight(t *testing.T) {
	colours := regexp.MustCompile("\x1b\\[[0-9]+m")
	height := len(frame(before(), false))
	for _, s := range []state{{o: Options{}.withDefaults()}, before(), after()} {
		s.warm = before().warm
		plain, painted := frame(s, false), frame(s, true)
		if len(plain) != height || height > 23 { // and the cursor's line
			t.Errorf("%d lines, then %d; want the same, and no more than 23", height, len(plain))
		}
		for i := range plain {
			if n := utf8.RuneCountInString(plain[i]); n > 80 {
				t.Errorf("%d columns: %s", n, plain[i])
			}
			if bare := colours.ReplaceAllString(painted[i], ""); strings.TrimRight(bare, " ") != strings.TrimRight(plain[i], " ") {
				t.Errorf("colours change the text: %q, %q", bare, plain[i])
			}
		}
	}
}

func TestATerminalIsDrawnInPlaceAndGetsItsCursorBack(t *testing.T) {
	var out bytes.Buffer
	v := &view{out: &out, redraw: true}
	v.begin(before())
	v.show(before())
	v.kill(after())
	v.end(after())
	text := out.String()
	height := len(frame(before(), false))
	if n := strings.Count(text, "\x1b["+count(height)+"A"); n != 3 {
		t.Errorf("%d of 4 frames are drawn over the one before", n)
	}
	if !strings.HasPrefix(text, "\x1b[?25l") || strings.Count(text, "\x1b[?25h") != 1 {
		t.Error("the cursor is not hidden and shown again")
	}
	if !strings.HasSuffix(text, summary(after())) {
		t.Error("the last lines are not the result")
	}
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	for n, want := range map[int]string{0: "0", 7: "7", 999: "999", 1000: "1,000", -1234: "-1,234", -123: "-123", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s, want %s", n, got, want)
		}
	}
	if got := spark([]int{0, 1, 50, 100}, 100); got != " ▁▄█" {
		t.Errorf("spark: %q", got)
	}
	if got := bar(40, 80); got != "██████████░░░░░░░░░░   40" {
		t.Errorf("bar: %q", got)
	}
}
