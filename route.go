package roost

// Route is a rule, compiled: a match, and how to find the key in what matched. It is data, not code, so that a snapshot
// can be compared, printed and explained. Package route compiles and runs it.
type Route struct {
	Name      string
	Pool      PoolRef
	PoolID    PoolID
	Match     Match
	Keys      []KeyProgram // tried in order; the first that yields a key wins
	OnMissing OnMissing
}

// Match selects requests. Every part that is set must hold.
type Match struct {
	Host    string // exact, or "*.example.com"; "" any. Compared without port and case
	Path    []Segment
	Text    string   // the path pattern as written; "" any path
	Methods []string // case-sensitive (RFC 9110, 9.1); none: any. GET takes HEAD too
	Fields  []FieldMatch
}

// FieldMatch asks for a request field.
type FieldMatch struct {
	Want  int    // slot in Request.Want
	Name  string // lower case
	Exact string // "" means: present
}

// Segment is one part of a path pattern, between slashes.
type Segment struct {
	Literal string // normalised; set when Capture is -1
	Capture int    // slot in Request.Captures, or -1
	Name    string // the capture's name
	Rest    bool   // {name...}: the rest of the path, slashes included; only the last
}

// OnMissing says what to do with a request that has no key.
type OnMissing uint8

const (
	MissingBalance  OnMissing = iota // the better of two nodes
	MissingReject                    // 400 key_missing
	MissingClientIP                  // the client's address is the key
)

func (o OnMissing) String() string {
	switch o {
	case MissingReject:
		return "reject"
	case MissingClientIP:
		return "client_ip"
	}
	return "balance"
}

// MaxKey bounds a key's bytes; what is longer is cut there. Equal requests still come together, and a scratch buffer of
// this size never grows. Names of tenants, functions and rooms are far shorter.
const MaxKey = 4096

// MaxFirst bounds how many of a raw connection's first bytes a key may look at: they are waited for and held.
const MaxFirst = 4096

// KeyProgram yields a key or nothing: the values of its parts one after another. A part without a value: no key.
type KeyProgram struct {
	Ops    []KeyOp
	Regexp Matcher // over the parts' text; nil: all of it. Else its first group, or the whole match when it has none
	Text   string  // as written
}

// Unverified tells that the key rests on a JWT whose signature nobody checks: the client may claim what it likes.
func (p *KeyProgram) Unverified() bool {
	for i := range p.Ops {
		if p.Ops[i].From == FromJWT && p.Ops[i].Verify == nil {
			return true
		}
	}
	return false
}

// KeySource is where a part of a key comes from.
type KeySource uint8

const (
	FromLiteral KeySource = iota // Name is the text
	FromPath                     // the whole path
	FromCapture                  // Index: the capture
	FromSegment                  // Index: path segment, 0-based; negative counts from the end
	FromHost                     // without port, lower case
	FromMethod
	FromQuery    // Name: the parameter
	FromField    // Index: slot in Request.Want
	FromCookie   // Index: slot of "cookie"; Name: the cookie
	FromJWT      // Name: the claim, Token: where the token is
	FromClientIP // Request.Client, without zone
	FromSNI      // lower case
	FromCert     // Name: which of the names in the client's verified certificate, as Request.Cert has them
	FromBytes    // Request.First: from Index to End or, with End 0, up to Name, which is a delimiter
	FromProxyTLV // Index: the type, or two of them in two bytes, the second inside the first
)

// KeyOp is one part of a key program.
type KeyOp struct {
	From   KeySource
	Index  int
	End    int // FromBytes: one behind the last
	Name   string
	Field  string // the request field whose slot Index is, lower case; "" when none is looked at
	Token  Token
	Verify Verifier // FromJWT; nil: the claim is used unverified
}

// Token says where a request carries its JWT. The field is its KeyOp's.
type Token struct {
	From KeySource // FromField, FromCookie or FromQuery
	Name string    // the cookie or parameter
}

// Matcher is a compiled regular expression, of RE2's linear time. *regexp.Regexp has this method.
type Matcher interface {
	FindSubmatchIndex(b []byte) []int
}

// Verifier checks a JWT's signature and its times at now (Unix seconds).
type Verifier interface {
	Verify(token string, now int64) bool
}
