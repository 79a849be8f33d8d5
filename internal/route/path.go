package route

import "strings"

// normal returns the normal form of a raw path (see the package comment); normal(normal(p)) == normal(p). Most paths
// are normal and come back as they are; others cost one allocation of at most three times their length.
func normal(path string) string {
	if path == "" {
		return "/"
	}
	first := abnormal(path)
	if first < 0 {
		return path
	}
	var b strings.Builder
	b.Grow(len(path) + 2*strings.Count(path[first:], "%"))
	b.WriteString(path[:first])
	for i := first; i < len(path); i++ {
		c := path[i]
		if c != '%' {
			b.WriteByte(c)
			continue
		}
		v, ok := octet(path[i+1:])
		switch {
		case !ok:
			b.WriteString("%25") // a node that is lenient reads a stray percent sign as itself
			continue
		case unreserved(v):
			b.WriteByte(v)
		default:
			b.WriteByte('%')
			b.WriteByte(upperHex[v>>4])
			b.WriteByte(upperHex[v&15])
		}
		i += 2
	}
	return b.String()
}

const upperHex = "0123456789ABCDEF"

// abnormal is the index of the first percent sign at which path differs from its normal form, or -1.
func abnormal(path string) int {
	for i := strings.IndexByte(path, '%'); i >= 0 && i < len(path); {
		v, ok := octet(path[i+1:])
		if !ok || unreserved(v) || path[i+1] >= 'a' || path[i+2] >= 'a' {
			return i
		}
		i += 3
		next := strings.IndexByte(path[i:], '%')
		if next < 0 {
			return -1
		}
		i += next
	}
	return -1
}

// octet reads the two hex digits that s begins with.
func octet(s string) (v byte, ok bool) {
	if len(s) < 2 {
		return 0, false
	}
	hi, lo := hexDigit(s[0]), hexDigit(s[1])
	return hi<<4 | lo, hi < 16 && lo < 16
}

// hexDigit is 255 for what is none.
func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// unreserved octets mean the same encoded or not (RFC 3986, 2.3).
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// dotted reports whether a node could read a segment "." or ".." in a normal path. Some take a backslash or an encoded
// slash for a slash, and cut parameters (;x) off before they resolve.
func dotted(path string) bool {
	for i := strings.IndexByte(path, '.'); i >= 0; {
		rest := path[i+1:]
		if separates(path[:i]) {
			end := strings.TrimPrefix(rest, ".")
			if end == "" || strings.IndexByte(`/\;`, end[0]) >= 0 || escaped(end) {
				return true
			}
		}
		next := strings.IndexByte(rest, '.')
		if next < 0 {
			return false
		}
		i += 1 + next
	}
	return false
}

// separates reports whether a segment begins behind s.
func separates(s string) bool {
	n := len(s)
	return n == 0 || s[n-1] == '/' || s[n-1] == '\\' || n >= 3 && escaped(s[n-3:])
}

// escaped reports whether s begins with an encoded slash, backslash or semicolon.
func escaped(s string) bool {
	return strings.HasPrefix(s, "%2F") || strings.HasPrefix(s, "%5C") || strings.HasPrefix(s, "%3B")
}

// segment returns the i-th part of a path between slashes; negative i counts from the end. "" when there is none.
func segment(path string, i int) string {
	rest, ok := strings.CutPrefix(path, "/")
	for ; ok && i > 0; i-- {
		_, rest, ok = strings.Cut(rest, "/")
	}
	if i >= 0 {
		if !ok {
			return ""
		}
		part, _, _ := strings.Cut(rest, "/")
		return part
	}
	for ; ok; i++ {
		cut := strings.LastIndexByte(rest, '/')
		if i == -1 {
			return rest[cut+1:]
		}
		ok = cut >= 0
		rest = rest[:max(cut, 0)]
	}
	return ""
}
