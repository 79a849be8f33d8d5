package route

import (
	"fmt"
	"net/netip"
	"strings"

	"roost"
)

// SyntaxError says what is wrong with a text, and where.
type SyntaxError struct {
	Off   int      // bytes before the fault
	Msg   string   // what is wrong, in words
	Got   string   // the word that is not known, when that is the fault
	Known []string // what is known in its place
}

func (e *SyntaxError) Error() string { return e.Msg }

func fault(off int, format string, args ...any) error {
	return &SyntaxError{Off: off, Msg: fmt.Sprintf(format, args...)}
}

// MaxText bounds the text of a pattern or a key: far more than anyone writes, and each request pays for its length.
const MaxText = 1024

// ParsePattern compiles a path pattern: segments between slashes, each a literal, a capture {name}, or, as the last,
// {name...} for the rest of the path. Literals may be written encoded or not. Errors are of type *SyntaxError.
func ParsePattern(text string) ([]roost.Segment, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fault(0, "a path pattern begins with a slash")
	}
	if len(text) > MaxText {
		return nil, fault(MaxText, "a path pattern has at most %d bytes", MaxText)
	}
	var segs []roost.Segment
	captures := 0
	for off, more := 1, true; more; {
		var part string
		part, _, more = strings.Cut(text[off:], "/")
		seg, err := parseSegment(part, off, segs)
		if err != nil {
			return nil, err
		}
		if seg.Rest && more {
			return nil, fault(off, "{%s...} takes the rest of the path, so nothing can follow it", seg.Name)
		}
		if seg.Capture = -1; seg.Name != "" {
			if captures == roost.MaxCaptures {
				return nil, fault(off, "a path pattern has at most %d captures", roost.MaxCaptures)
			}
			seg.Capture = captures
			captures++
		}
		segs = append(segs, seg)
		off += len(part) + 1
	}
	return segs, nil
}

func parseSegment(part string, off int, before []roost.Segment) (seg roost.Segment, err error) {
	name, ok := strings.CutPrefix(part, "{")
	if !ok {
		seg.Literal, err = parseLiteral(part, off)
		return seg, err
	}
	name, rest, ok := strings.Cut(name, "}")
	switch {
	case !ok:
		return seg, fault(off, "this brace is never closed in its segment")
	case rest != "":
		return seg, fault(off+len(part)-len(rest), "a capture is a whole segment; put a slash here, or capture all of it and cut it with a regex")
	}
	seg.Name, seg.Rest = strings.CutSuffix(name, "...")
	if !isName(seg.Name) {
		return seg, fault(off+1, "%q is not a name for a capture; use letters, digits and _", seg.Name)
	}
	if isWord(seg.Name) {
		return seg, fault(off+1, "%s is what keys call another part of a request; give the capture another name", seg.Name)
	}
	for i := range before {
		if before[i].Name == seg.Name {
			return seg, fault(off+1, "{%s} is there twice", seg.Name)
		}
	}
	return seg, nil
}

func parseLiteral(part string, off int) (string, error) {
	var b strings.Builder
	for i := range len(part) {
		switch c := part[i]; {
		case c == '{' || c == '}':
			return "", fault(off+i, "a capture is a whole segment, as in /a/{name}/b")
		case c == '?' || c == '#':
			return "", fault(off+i, "a path ends before %q; queries are not matched, but a key can be taken from one", c)
		case c <= ' ' || c == 0x7f:
			return "", fault(off+i, "a path has no spaces and no control characters; write %%%02X", c)
		case c >= 0x80: // a client sends it encoded
			fmt.Fprintf(&b, "%%%02X", c)
		case c == '%':
			if _, ok := octet(part[i+1:]); !ok {
				return "", fault(off+i, "%% must be followed by two hex digits; a percent sign itself is %%25")
			}
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	if b.Len() == 0 {
		return "", nil
	}
	literal := normal(b.String())
	if dotted(literal) {
		return "", fault(off, `paths with "." or ".." match no pattern`)
	}
	return literal, nil
}

// Captures lists a pattern's capture names by slot.
func Captures(pattern []roost.Segment) []string {
	var names []string
	for i := range pattern {
		if pattern[i].Capture >= 0 {
			names = append(names, pattern[i].Name)
		}
	}
	return names
}

// ParseHost compiles a host pattern: a name or address, or *. and a name, which takes every name below that one but not
// the name itself. It returns the form that Match.Host holds. Errors are of type *SyntaxError.
func ParseHost(text string) (string, error) {
	name := strings.ToLower(text)
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil && a.Zone() == "" {
		return a.String(), nil
	}
	star := 0
	if strings.HasPrefix(name, "*.") {
		star = 2
	}
	name = strings.TrimSuffix(name, ".")
	if len(name) <= star || len(name) > 255 {
		return "", fault(0, "a host is a name such as example.com, an address, or *.example.com")
	}
	for i := star; i < len(name); i++ {
		c := name[i]
		switch {
		case c == ':':
			return "", fault(i, "the port of a host is not compared; leave it out")
		case c == '*':
			return "", fault(i, "a star stands only in front, as in *.example.com")
		case c == '.' && (i == star || name[i-1] == '.'):
			return "", fault(i, "a part of this name is empty")
		case c >= 0x80:
			return "", fault(i, "write the name as clients send it, in Punycode (xn--...)")
		case c != '-' && c != '.' && c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9'):
			return "", fault(i, "%q cannot stand in a host", c)
		}
	}
	return name, nil
}

// isName reports whether s is letters, digits and underscores, and does not begin with a digit.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
