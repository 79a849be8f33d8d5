package main

import "testing"

func TestSchedstatGivesTheTimeOnACPU(t *testing.T) {
	if ns, err := parseSchedstat("86021430221 1264133 8121\n"); ns != 86021430221 || err != nil {
		t.Errorf("%d, %v", ns, err)
	}
	for _, bad := range []string{"", "1 2", "1 2 3 4", "x 2 3"} {
		if _, err := parseSchedstat(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestStatIsReadBehindAnyName(t *testing.T) {
	const rest = " S 17 22 22 0 -1 4194560 2105 0 0 0 311 92 0 0 20 0 8 0 3021 1264943104 4242 18446744073709551615 1 1 0"
	want := Stat{Parent: 17, User: 311, Sys: 92, Pages: 4242}
	for _, name := range []string{"roost", "a b", "nginx: (worker)", ") R 1 (", ""} {
		if got, err := parseStat("22 (" + name + ")" + rest); got != want || err != nil {
			t.Errorf("name %q: %+v, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "22 (roost", "22 (roost) S 17 22", "22 (roost) S x" + rest[5:]} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestOthersAreWhatTheMachineDidAndWeDidNot(t *testing.T) {
	const text = "cpu  100 1 50 800 40 2 3 4 99 99\ncpu0 50 1 25 400 20 1 1 2 0 0\ncpu1 50 0 25 400 20 1 2 2 0 0\nintr 12 0\n"
	m, err := parseMachine(text)
	if want := (Machine{CPUs: 2, Busy: 160, Total: 1000}); m != want || err != nil {
		t.Fatalf("%+v, %v; want %+v", m, err, want)
	}
	// A second in which half of two CPUs was busy; we ran for 0.6 s.
	to := Machine{CPUs: 2, Busy: 260, Total: 1200}
	if got := m.others(to, 600e6, 1e9); got < 0.199 || got > 0.201 {
		t.Errorf("others: %g, want 0.2", got)
	}
	if got := m.others(to, 2e9, 1e9); got != 0 {
		t.Errorf("others are never less than nothing: %g", got)
	}
	if got := m.others(m, 1, 1); got != 0 {
		t.Errorf("in no time: %g", got)
	}
	for _, bad := range []string{"", "intr 1 2\n", "cpu 1 2 3\n", "cpu a 1 50 800 40 2 3 4\ncpu0 1 1 1 1 1 1 1 1\n"} {
		if _, err := parseMachine(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestTheAnonymousMemoryOfAProcessIsRead(t *testing.T) {
	const text = "55d0c6f4e000-7ffd7a5f0000 ---p 00000000 00:00 0 [rollup]\nRss:   5244 kB\nPrivate_Dirty:  900 kB\nAnonymous:           812 kB\nKSM: 0 kB\n"
	if n, err := parseRollup(text); n != 812<<10 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "Rss: 5 kB\n", "Anonymous: many kB\n", "Anonymous:\n"} {
		if n, err := parseRollup(bad); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
}
