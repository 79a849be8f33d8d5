package probe

import (
	"math"
	"strconv"
	"testing"
)

// ascending is the order of semver.org 11, and its edges.
var ascending = []string{"0.0.0", "0.0.9", "0.0.10", "0.0.235", "0.1.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta",
	"1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-beta.99999999999999999999", "1.0.0-beta.x", "1.0.0-rc.1", "1.0.0",
	"1.0.1--", "1.0.1", strconv.FormatUint(math.MaxUint64, 10) + ".0.0"}

func TestVersionsRankAsSemverSays(t *testing.T) {
	for i, a := range ascending {
		for j, b := range ascending {
			v, okv := parseVersion(a)
			w, okw := parseVersion("v" + b + "+build.007")
			if !okv || !okw {
				t.Fatalf("%s or %s is not read", a, b)
			}
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := v.compare(w); got != want {
				t.Errorf("%s against %s: %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestWhatIsNoVersionIsRefused(t *testing.T) {
	for _, s := range []string{"", "v", "1", "1.2", "1.2.3.4", "01.2.3", "1.02.3", "1.2.x", "-1.2.3", "+1.2.3", "1.2.3-", "1.2.3-a..b",
		"1.2.3-01", "1.2.3+", "1.2.3+a_b", "1.2.3-é", " 1.2.3", "1.2.3 ", "vv1.2.3", "18446744073709551616.0.0", "latest"} {
		if _, ok := parseVersion(s); ok {
			t.Errorf("%q is read as a version", s)
		}
	}
}

func FuzzVersion(f *testing.F) {
	f.Add("1.0.0-rc.1+x", "1.0.0")
	f.Fuzz(func(t *testing.T, a, b string) {
		v, okv := parseVersion(a)
		w, okw := parseVersion(b)
		if !okv || !okw {
			return
		}
		if v.compare(w) != -w.compare(v) {
			t.Errorf("%q and %q: not antisymmetric", a, b)
		}
		if v.compare(v) != 0 {
			t.Errorf("%q differs from itself", a)
		}
	})
}
