package route

import (
	"strings"
	"unicode/utf8"

	"roost"
)

const (
	// maxToken bounds a JWT: what does not fit here does not fit into the field limits of ordinary servers either.
	maxToken = 16 << 10
	// maxDepth bounds nesting inside a JWT: claims are flat, or hold an object or two.
	maxDepth = 16
)

// split cuts a JWT in compact form (RFC 7515, 3.1). Encrypted ones, of five parts, are not for us to read.
func split(token string) (head, claims, signature string, ok bool) {
	if len(token) > maxToken {
		return "", "", "", false
	}
	head, claims, ok = strings.Cut(token, ".")
	if !ok {
		return "", "", "", false
	}
	claims, signature, ok = strings.Cut(claims, ".")
	return head, claims, signature, ok && strings.IndexByte(signature, '.') < 0
}

// putClaim appends a claim's text, unverified. A string is decoded, a number or boolean stands as it was written;
// objects, arrays and null are no key.
func putClaim(dst []byte, token, claim string) ([]byte, bool) {
	_, claims, _, ok := split(token)
	if !ok {
		return dst, false
	}
	out, kind := findClaim(dst, claims, claim)
	return out, kind >= claimText
}

type claimKind uint8

const (
	claimNone   claimKind = iota // the object has none of that name
	claimBad                     // this is not base64url of one JSON object, or the claim is in it twice
	claimOther                   // an object, an array, null or an empty string
	claimText                    // a string
	claimNumber                  // a number
	claimBool                    // true or false
)

// findClaim reads a JSON object (RFC 8259) that is base64url-encoded (RFC 7515, 2), strictly and to its end, in one
// pass that decodes as it goes and stores nothing, and appends the value of one claim to dst. The dots of a name lead
// into objects; as names like https://example.com/org hold dots themselves, a member matches with as much of the name
// as it has. A claim that is there twice is refused: servers do not agree on which one counts (RFC 7519, 4).
func findClaim(dst []byte, encoded, claim string) ([]byte, claimKind) {
	s := scanner{src: encoded, dst: dst, found: claimNone}
	s.next()
	s.space()
	if !s.object(claim, maxDepth) {
		return dst, claimBad
	}
	if s.space(); s.c != end || s.broken {
		return dst, claimBad
	}
	if s.found == claimOther {
		return dst, claimOther
	}
	return s.dst, s.found
}

// end stands for the character behind the last one.
const end = -1

// scanner reads JSON out of base64url. c is the character to be read next.
type scanner struct {
	src    string
	bits   uint32 // decoded and not yet given out
	nbits  uint8
	broken bool // src is not base64url
	c      int
	dst    []byte
	found  claimKind
}

func (s *scanner) next() {
	for s.nbits < 8 {
		if s.src == "" {
			// Left-over bits are zero, and one character alone encodes nothing: else two texts would mean the same.
			s.broken = s.broken || s.nbits >= 6 || s.bits&(1<<s.nbits-1) != 0
			s.c = end
			return
		}
		v := sextet(s.src[0])
		if v > 63 {
			s.broken, s.src, s.nbits, s.c = true, "", 0, end
			return
		}
		s.src = s.src[1:]
		s.bits = s.bits<<6 | uint32(v)
		s.nbits += 6
	}
	s.nbits -= 8
	s.c = int(byte(s.bits >> s.nbits))
}

// sextet is the value of a base64url character, above 63 for what is none.
func sextet(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c - 'A'
	case 'a' <= c && c <= 'z':
		return c - 'a' + 26
	case '0' <= c && c <= '9':
		return c - '0' + 52
	case c == '-':
		return 62
	case c == '_':
		return 63
	}
	return 255
}

func (s *scanner) space() {
	for s.c == ' ' || s.c == '\t' || s.c == '\n' || s.c == '\r' {
		s.next()
	}
}

// take reads one character if it is c.
func (s *scanner) take(c int) bool {
	if s.c != c {
		return false
	}
	s.next()
	return true
}

// object reads an object and looks for claim in it; "" looks for nothing.
func (s *scanner) object(claim string, depth int) bool {
	if depth == 0 || !s.take('{') {
		return false
	}
	if s.space(); s.take('}') {
		return true
	}
	for {
		match := nameMatch{want: claim, ok: claim != ""}
		if !s.text(nil, &match) {
			return false
		}
		if s.space(); !s.take(':') {
			return false
		}
		s.space()
		switch rest, exact := match.end(); {
		case exact:
			if !s.claim(depth - 1) {
				return false
			}
		case rest != "" && s.c == '{':
			if !s.object(rest, depth-1) {
				return false
			}
		case !s.skip(depth - 1):
			return false
		}
		if s.space(); s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
		s.space()
	}
}

// claim reads the value that was looked for.
func (s *scanner) claim(depth int) bool {
	if s.found != claimNone {
		return false
	}
	switch c := s.c; {
	case c == '"':
		s.found = claimText
		before := len(s.dst)
		ok := s.text(&s.dst, nil)
		if len(s.dst) == before && before < roost.MaxKey {
			s.found = claimOther
		}
		return ok
	case c == 't' || c == 'f':
		s.found = claimBool
		return s.word(&s.dst)
	case c == '-' || isDigit(c):
		s.found = claimNumber
		return s.number(&s.dst)
	}
	s.found = claimOther
	return s.skip(depth)
}

// skip reads any value.
func (s *scanner) skip(depth int) bool {
	switch c := s.c; {
	case c == '{':
		return s.object("", depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		return s.text(nil, nil)
	case c == '-' || isDigit(c):
		return s.number(nil)
	}
	return s.word(nil)
}

func (s *scanner) array(depth int) bool {
	if depth == 0 || !s.take('[') {
		return false
	}
	if s.space(); s.take(']') {
		return true
	}
	for {
		if !s.skip(depth - 1) {
			return false
		}
		if s.space(); s.take(']') {
			return true
		}
		if !s.take(',') {
			return false
		}
		s.space()
	}
}

// word reads true, false or null.
func (s *scanner) word(dst *[]byte) bool {
	w := "null"
	switch s.c {
	case 't':
		w = "true"
	case 'f':
		w = "false"
	}
	for i := range len(w) {
		if !s.take(int(w[i])) {
			return false
		}
		emit(dst, w[i])
	}
	return true
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number(dst *[]byte) bool {
	accept := func(c int) bool {
		if s.c != c {
			return false
		}
		emit(dst, byte(c))
		s.next()
		return true
	}
	digits := func() bool {
		n := 0
		for ; isDigit(s.c); n++ {
			accept(s.c)
		}
		return n > 0
	}
	accept('-')
	if !accept('0') && !digits() {
		return false
	}
	if accept('.') && !digits() {
		return false
	}
	if accept('e') || accept('E') {
		if !accept('+') {
			accept('-')
		}
		return digits()
	}
	return true
}

func isDigit(c int) bool { return '0' <= c && c <= '9' }

func emit(dst *[]byte, c byte) {
	if dst != nil {
		*dst = putByte(*dst, c)
	}
}

// text reads a string and gives its decoded octets to dst or to match, whichever is there.
func (s *scanner) text(dst *[]byte, match *nameMatch) bool {
	if !s.take('"') {
		return false
	}
	for {
		switch {
		case s.c == '"':
			s.next()
			return true
		case s.c < ' ': // the end of the input included
			return false
		case s.c == '\\':
			r, ok := s.escape()
			if !ok {
				return false
			}
			var utf [utf8.UTFMax]byte
			for _, c := range utf[:utf8.EncodeRune(utf[:], r)] {
				emit(dst, c)
				match.add(c)
			}
		default:
			emit(dst, byte(s.c))
			match.add(byte(s.c))
			s.next()
		}
	}
}

// escape reads \x and \uXXXX; two surrogates make one character, one alone is refused.
func (s *scanner) escape() (rune, bool) {
	s.next()
	c := s.c
	s.next()
	switch c {
	case '"', '\\', '/':
		return rune(c), true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	case 'u':
		r, ok := s.hex()
		if !ok || r < 0xD800 || r > 0xDFFF {
			return r, ok
		}
		if r > 0xDBFF || !s.take('\\') || !s.take('u') {
			return 0, false
		}
		low, ok := s.hex()
		if !ok || low < 0xDC00 || low > 0xDFFF {
			return 0, false
		}
		return (r-0xD800)<<10 | (low - 0xDC00) + 0x10000, true
	}
	return 0, false
}

func (s *scanner) hex() (r rune, ok bool) {
	for range 4 {
		if s.c < 0 {
			return 0, false
		}
		v := hexDigit(byte(s.c))
		if v > 15 {
			return 0, false
		}
		r = r<<4 | rune(v)
		s.next()
	}
	return r, true
}

// nameMatch compares a member's name, octet by octet, with the claim that is looked for. Nil compares nothing.
type nameMatch struct {
	want string
	n    int
	ok   bool
}

func (m *nameMatch) add(c byte) {
	if m != nil && m.ok {
		m.ok = m.n < len(m.want) && m.want[m.n] == c
		m.n++
	}
}

// end says whether the name was all of the claim's, or what of it is left to be found inside the member.
func (m *nameMatch) end() (rest string, exact bool) {
	if !m.ok {
		return "", false
	}
	if m.n == len(m.want) {
		return "", true
	}
	if m.want[m.n] == '.' {
		return m.want[m.n+1:], false
	}
	return "", false
}
