package probe

import (
	"cmp"
	"strconv"
	"strings"
)

// version is a semantic version (semver.org 2.0.0) without its build metadata, which has no rank.
type version struct {
	core [3]uint64
	pre  []string // identifiers of the pre-release; none ranks above any
}

// parseVersion reads MAJOR.MINOR.PATCH with an optional -PRERELEASE and +BUILD. A leading v, as in tags, is allowed.
func parseVersion(s string) (v version, ok bool) {
	s, build, has := strings.Cut(strings.TrimPrefix(s, "v"), "+")
	if has && !identifiers(build, false) {
		return version{}, false
	}
	s, pre, has := strings.Cut(s, "-")
	if has {
		if !identifiers(pre, true) {
			return version{}, false
		}
		v.pre = strings.Split(pre, ".")
	}
	parts := strings.Split(s, ".")
	if len(parts) != len(v.core) {
		return version{}, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 64)
		if err != nil || !numeric(p) {
			return version{}, false
		}
		v.core[i] = n
	}
	return v, true
}

// compare returns -1, 0 or +1 by the rule of precedence (semver.org, 11).
func (v version) compare(w version) int {
	for i := range v.core {
		if c := cmp.Compare(v.core[i], w.core[i]); c != 0 {
			return c
		}
	}
	if len(v.pre) == 0 || len(w.pre) == 0 {
		return cmp.Compare(len(w.pre), len(v.pre))
	}
	for i := range min(len(v.pre), len(w.pre)) {
		if c := compareIdentifiers(v.pre[i], w.pre[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(v.pre), len(w.pre))
}

// compareIdentifiers ranks numbers by value and below words, and words by their octets. Numbers may be longer than any
// integer: without leading zeros the longer one is the larger.
func compareIdentifiers(a, b string) int {
	an, bn := digits(a), digits(b)
	switch {
	case an && bn:
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	case an:
		return -1
	case bn:
		return 1
	}
	return cmp.Compare(a, b)
}

// identifiers reports whether s is identifiers joined by dots; in a pre-release numbers have no leading zero.
func identifiers(s string, pre bool) bool {
	for id := range strings.SplitSeq(s, ".") {
		if id == "" || pre && digits(id) && !numeric(id) {
			return false
		}
		for _, c := range []byte(id) {
			if c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
				return false
			}
		}
	}
	return true
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// numeric reports whether s is a number without leading zeros.
func numeric(s string) bool { return digits(s) && (s == "0" || s[0] != '0') }
