package route

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"roost"
)

const (
	// maxParts bounds the parts of one key: each is paid for by every request of the route.
	maxParts = 16
	// maxSegment bounds n in path[n]: no path that anyone routes by is deeper.
	maxSegment = 63
)

// words are the sources of a key's parts, as they are written. "name" stands for an argument behind a colon.
func words() []string {
	return []string{"path", "host", "method", "client_ip", "sni", "header:name", "query:name", "cookie:name", "jwt:claim", "cert:name",
		"bytes_until:delimiter", "proxy_tlv:type"}
}

// isWord keeps captures from taking the name of a source: {host} must not have two meanings.
func isWord(name string) bool {
	return slices.ContainsFunc(words(), func(w string) bool {
		w, _, _ = strings.Cut(w, ":")
		return w == name
	})
}

// Scope is what the text of a key may refer to besides the request itself.
type Scope struct {
	Captures []string       // of the route's path pattern, by slot
	Token    *roost.KeyOp   // where a JWT is found, by ParseToken; nil: the Authorization field
	Verify   roost.Verifier // checks that JWT; nil: it is used unverified
}

// ParseKey compiles the text of a key. Without braces it is one source:
//
//	path          the whole path               header:NAME   a field; of several the first
//	path[0]       its first segment            query:NAME    a parameter, decoded; of several the first
//	path[-1]      its last segment             cookie:NAME   a cookie, without quotes; of several the first
//	host          lower case, without port     jwt:CLAIM     a string, number or boolean; dots lead into objects
//	method        as sent                      client_ip     the client's address
//	sni           the TLS server name          cert:NAME     of the client's verified certificate: cn, o, ou, dns, uri,
//	                                                         email (of several the first) or spiffe
//	bytes[4:12]   eight of those that a raw connection begins with, behind the first four
//	bytes_until:\n  those up to a delimiter; \r \n \t \0 \\ and \xHH are written so
//	proxy_tlv:T   of the PROXY header: alpn, authority, unique_id, ssl_cn, aws, or a number such as 0xE0
//
// With braces it is a template: {SOURCE} and {CAPTURE} are replaced, {{ and }} are braces, the rest is text. The program
// refers to fields by name until Bind gives them slots. Errors are of type *SyntaxError.
func ParseKey(text string, sc Scope) (roost.KeyProgram, error) {
	p := roost.KeyProgram{Text: text}
	if len(text) > MaxText {
		return p, fault(MaxText, "a key's text has at most %d bytes", MaxText)
	}
	if !strings.ContainsAny(text, "{}") {
		op, err := sc.source(text, 0, false)
		p.Ops = []roost.KeyOp{op}
		return p, err
	}
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			p.Ops = append(p.Ops, roost.KeyOp{From: roost.FromLiteral, Name: literal.String()})
			literal.Reset()
		}
	}
	parts := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '{' && c != '}' {
			literal.WriteByte(c)
			continue
		}
		if i+1 < len(text) && text[i+1] == c {
			literal.WriteByte(c)
			i++
			continue
		}
		if c == '}' {
			return p, fault(i, "this brace closes nothing; write }} for a brace in the key")
		}
		name, _, ok := strings.Cut(text[i+1:], "}")
		if !ok {
			return p, fault(i, "this brace is never closed; write {{ for a brace in the key")
		}
		op, err := sc.source(name, i+1, true)
		if err != nil {
			return p, err
		}
		if parts++; parts > maxParts {
			return p, fault(i, "a key has at most %d parts", maxParts)
		}
		flush()
		p.Ops = append(p.Ops, op)
		i += len(name) + 1
	}
	flush()
	if parts == 0 {
		return p, fault(0, "this names no part of the request, so every request would have the same key")
	}
	return p, nil
}

// source compiles one source, which stands at off in the key's text.
func (sc Scope) source(text string, off int, braces bool) (roost.KeyOp, error) {
	if i := slices.Index(sc.Captures, text); i >= 0 {
		if !braces {
			return roost.KeyOp{}, fault(off, `%s is a capture; write "{%[1]s}"`, text)
		}
		return roost.KeyOp{From: roost.FromCapture, Index: i, Name: text}, nil
	}
	if strings.HasPrefix(text, "path[") {
		return parseIndex(text, off)
	}
	if strings.HasPrefix(text, "bytes[") {
		return parseRange(text, off)
	}
	word, arg, has := strings.Cut(text, ":")
	op, argOff := roost.KeyOp{Name: arg}, off+len(text)-len(arg)
	switch word {
	case "path":
		op.From = roost.FromPath
	case "host":
		op.From = roost.FromHost
	case "method":
		op.From = roost.FromMethod
	case "client_ip":
		op.From = roost.FromClientIP
	case "sni":
		op.From = roost.FromSNI
	case "header":
		name, err := parseField(arg, argOff)
		op.From, op.Field = roost.FromField, name
		return op, err
	case "query":
		op.From = roost.FromQuery
		return op, wantName(word, arg, argOff)
	case "cookie":
		op.From, op.Field = roost.FromCookie, "cookie"
		return op, wantToken(word, arg, argOff)
	case "jwt":
		op.From, op.Verify = roost.FromJWT, sc.Verify
		op.Field, op.Token.From = "authorization", roost.FromField
		if sc.Token != nil {
			op.Field, op.Token = sc.Token.Field, roost.Token{From: sc.Token.From, Name: sc.Token.Name}
		}
		return op, wantName(word, arg, argOff)
	case "cert":
		op.From = roost.FromCert
		return op, wantCert(arg, argOff)
	case "bytes_until":
		return parseDelimiter(arg, argOff)
	case "proxy_tlv":
		return parseTLV(arg, argOff)
	default:
		return op, sc.unknown(text, off, braces)
	}
	if has {
		return op, fault(off+len(word), "nothing follows %s", word)
	}
	return op, nil
}

func (sc Scope) unknown(text string, off int, braces bool) error {
	known := words()
	if name, ok := strings.CutSuffix(text, "..."); ok && slices.Contains(sc.Captures, name) {
		return fault(off+len(name), "the dots belong to the match; write {%s}", name)
	}
	if text == "" {
		return fault(off, "nothing is named here; a key is one of %s, or a template of these and captures in braces", strings.Join(known, ", "))
	}
	kind := "a part of a request"
	if braces && len(sc.Captures) > 0 {
		kind = "a capture of the route's path or a part of a request"
		known = append(slices.Clone(sc.Captures), known...)
	}
	return &SyntaxError{Off: off, Msg: fmt.Sprintf("%q is not %s", text, kind), Got: text, Known: known}
}

// parseIndex reads path[N].
func parseIndex(text string, off int) (roost.KeyOp, error) {
	const open = len("path[")
	digits, tail, ok := strings.Cut(text[open:], "]")
	n, err := strconv.Atoi(digits)
	switch {
	case !ok:
		return roost.KeyOp{}, fault(off+open-1, "this bracket is never closed")
	case tail != "":
		return roost.KeyOp{}, fault(off+open+len(digits)+1, "nothing follows path[...]")
	case err != nil || n < -maxSegment || n > maxSegment:
		return roost.KeyOp{}, fault(off+open, "%q is not the number of a segment; path[0] is the first, path[-1] the last, %d the limit", digits, maxSegment)
	}
	return roost.KeyOp{From: roost.FromSegment, Index: n}, nil
}

// wantCert checks which name in a certificate is meant.
func wantCert(arg string, off int) error {
	names := []string{"cn", "o", "ou", "dns", "uri", "email", "spiffe"}
	if slices.Contains(names, arg) {
		return nil
	}
	known := "cert:" + strings.Join(names, ", cert:")
	if arg == "" {
		return fault(off, "nothing says which name in the certificate; write one of %s", known)
	}
	return &SyntaxError{Off: off, Msg: fmt.Sprintf("%q is not a name in a certificate; there is %s", arg, known), Got: arg, Known: names}
}

func wantName(word, arg string, off int) error {
	if arg == "" {
		return fault(off, "a name is missing; write %s:NAME", word)
	}
	return nil
}

// wantToken checks the name of a field or cookie (RFC 9110, 5.6.2).
func wantToken(word, arg string, off int) error {
	for i := range len(arg) {
		if c := arg[i]; !unreserved(c) && strings.IndexByte("!#$%&'*+^`|", c) < 0 {
			r, _ := utf8.DecodeRuneInString(arg[i:])
			return fault(off+i, "%q cannot stand in the name of a %s", r, word)
		}
	}
	return wantName(word, arg, off)
}

// ParseField checks the name of a request field and returns it in lower case. Errors are of type *SyntaxError.
func ParseField(name string) (string, error) { return parseField(name, 0) }

func parseField(name string, off int) (string, error) {
	if equalFold(name, "host") {
		return "", fault(off, "HTTP/2 has no Host field; write host, which is there in every version")
	}
	return strings.ToLower(name), wantToken("header", name, off)
}

// ParseToken compiles the place of a JWT in requests: header:NAME, cookie:NAME or query:NAME. A field may hold "Bearer "
// in front of the token.
func ParseToken(text string) (*roost.KeyOp, error) {
	op, err := Scope{}.source(text, 0, false)
	if err != nil {
		return nil, err
	}
	if op.From != roost.FromField && op.From != roost.FromCookie && op.From != roost.FromQuery {
		return nil, fault(0, "a token is in header:NAME, cookie:NAME or query:NAME")
	}
	if op.From == roost.FromField {
		op.Name = "" // a field holds the token alone
	}
	return &op, nil
}

// ParseRegexp compiles a regular expression (RE2 syntax) for KeyProgram.Regexp.
func ParseRegexp(text string) (roost.Matcher, error) {
	if len(text) > MaxText {
		return nil, fault(MaxText, "a regular expression has at most %d bytes", MaxText)
	}
	re, err := regexp.Compile(text)
	if se, ok := errors.AsType[*syntax.Error](err); ok {
		return nil, fault(max(strings.Index(text, se.Expr), 0), "%s: %q", se.Code, se.Expr)
	}
	return re, err
}
