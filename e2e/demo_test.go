package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestDemoSaysWhatItShows runs the README's first command for a shorter time and reads its last lines.
func TestDemoSaysWhatItShows(t *testing.T) {
	needQuiet(t, 800)
	out, errs, code := command(t, time.Minute, "", roostBinary(t), "demo", "--for", "8s", "--plain")
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	t.Log("\n" + out)
	if strings.Contains(out, "\x1b") {
		t.Error("--plain prints escapes")
	}
	figure := func(pattern string) float64 {
		m := regexp.MustCompile(pattern).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("no line like %q", pattern)
		}
		f, err := strconv.ParseFloat(strings.ReplaceAll(m[1], ",", ""), 64)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	roost := figure(`(?m)^ +Roost +([\d.]+) cold starts per function`)
	robin := figure(`(?m)^ +round robin +([\d.]+) cold starts per function`)
	// The issue asks for 1.1 over 20 s of an otherwise idle machine.
	if roost > 1.2 || robin < 2*roost {
		t.Errorf("cold starts per function until the kill: %v, by round robin %v", roost, robin)
	}
	restarted, home := figure(`cold starts: ([\d,]+) of functions that lost their home`), figure(`lost their home \([\d,]+ of ([\d,]+) were called`)
	if restarted == 0 || restarted > home {
		t.Errorf("%v functions started again, the dead node was home to %v", restarted, home)
	}
	if others := figure(`never called before, ([\d,]+) of all others`); others > home/4 {
		t.Errorf("%v functions whose home lives started again; the dead node was home to %v", others, home)
	}
	if failed := figure(`Failed calls: ([\d,]+) of [\d,]+ through Roost`); failed > 20 {
		t.Errorf("%v calls failed", failed)
	}
}

// TestReadmeNamesItsCommands keeps the page that a newcomer reads and these tests together.
func TestReadmeNamesItsCommands(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"\ngo run ./cmd/roost demo --for 20s\n", "\nmake test\n"} {
		if !strings.Contains(string(text), command) {
			t.Errorf("README.md has no line %q", strings.TrimSpace(command))
		}
	}
}
