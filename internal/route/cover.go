package route

import "roost"

// Covers reports whether a takes every request that b takes, so that b is never reached behind a. Both are of one
// listener.
func Covers(a, b *roost.Match) bool {
	return coversHost(a.Host, b.Host) && coversMethods(a.Methods, b.Methods) && coversFields(a.Fields, b.Fields) &&
		(a.Text == "" || b.Text != "" && coversPath(a.Path, b.Path))
}

func coversHost(a, b string) bool {
	if a == "" || a == b {
		return true
	}
	// "*.b.c" lies within "*.c" as any host does: its star stands for at least one character.
	return b != "" && a[0] == '*' && takesHost(a, b)
}

func coversMethods(a, b []string) bool {
	for _, m := range b {
		if !takesMethod(a, m) {
			return false
		}
	}
	return len(a) == 0 || len(b) > 0
}

func coversFields(a, b []roost.FieldMatch) bool {
next:
	for i := range a {
		for j := range b {
			if a[i].Name == b[j].Name && (a[i].Exact == "" || a[i].Exact == b[j].Exact) {
				continue next
			}
		}
		return false
	}
	return true
}

func coversPath(a, b []roost.Segment) bool {
	for i := range a {
		switch {
		case i >= len(b):
			return false
		case a[i].Rest:
			return true
		case b[i].Rest:
			return false
		case a[i].Capture >= 0:
			if b[i].Capture < 0 && b[i].Literal == "" {
				return false
			}
		case b[i].Capture >= 0 || a[i].Literal != b[i].Literal:
			return false
		}
	}
	return len(a) == len(b)
}
