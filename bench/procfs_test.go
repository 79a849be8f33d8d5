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
