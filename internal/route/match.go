package route

import (
	"strings"

	"roost"
)

// Match returns the first of the listener's routes that takes r, or nil. It sets r.Path and r.Query from r.Target, and
// r.Captures to those of the route returned.
func Match(lv *roost.ListenerView, r *roost.Request) *roost.Route {
	r.Path, r.Query, _ = strings.Cut(r.Target, "?")
	r.Path = normal(r.Path)
	host, dots := Hostname(r.Host), dotted(r.Path)
	for _, rt := range lv.Routes {
		m := &rt.Match
		if !takesHost(m.Host, host) || !takesMethod(m.Methods, r.Method) || !takesFields(m.Fields, r) {
			continue
		}
		if m.Text == "" {
			clear(r.Captures[:])
			return rt
		}
		if n, ok := takesPath(m.Path, r.Path, &r.Captures); ok && !dots {
			clear(r.Captures[n:])
			return rt
		}
	}
	clear(r.Captures[:])
	return nil
}

// Hostname is the host of an authority: without port, without the brackets of an IPv6 address, and without the dot
// that ends a fully qualified name (RFC 3986, 3.2.2).
func Hostname(host string) string {
	if strings.HasPrefix(host, "[") {
		if i := strings.IndexByte(host, ']'); i > 0 {
			return host[1:i]
		}
		return host
	}
	if i := strings.IndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i+1:], ':') < 0 {
		host = host[:i]
	}
	return strings.TrimSuffix(host, ".")
}

// takesHost compares with a pattern as ParseHost returns it: lower case.
func takesHost(pattern, host string) bool {
	if pattern == "" {
		return true
	}
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		cut := len(host) - len(suffix)
		return cut > 0 && equalFold(host[cut:], suffix)
	}
	return equalFold(host, pattern)
}

// takesMethod lets GET stand for HEAD too: it asks for the same thing without its content (RFC 9110, 9.3.2), so it
// belongs to the same home.
func takesMethod(methods []string, method string) bool {
	for _, m := range methods {
		if m == method || m == "GET" && method == "HEAD" {
			return true
		}
	}
	return len(methods) == 0
}

func takesFields(fields []roost.FieldMatch, r *roost.Request) bool {
	for i := range fields {
		f := &fields[i]
		if r.Has&(1<<f.Want) == 0 || f.Exact != "" && r.Want[f.Want] != f.Exact {
			return false
		}
	}
	return true
}

// takesPath fills captures in order and returns how many, which means something only when ok. A capture of one segment
// is never empty; {name...} may be.
func takesPath(pattern []roost.Segment, path string, captures *[roost.MaxCaptures]string) (n int, ok bool) {
	rest, more := strings.CutPrefix(path, "/")
	for i := range pattern {
		seg := &pattern[i]
		if !more {
			return n, false
		}
		part := rest
		if seg.Rest {
			more = false
		} else {
			part, rest, more = strings.Cut(rest, "/")
		}
		if seg.Capture < 0 {
			if part != seg.Literal {
				return n, false
			}
			continue
		}
		if part == "" && !seg.Rest {
			return n, false
		}
		captures[seg.Capture] = part
		n++
	}
	return n, !more
}

// equalFold compares ASCII without case. strings.EqualFold folds Unicode, where the Kelvin sign is a k.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
