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
	Text    string // the path pattern as written; "" any path
	Methods []string
	Fields  []FieldMatch
}

// FieldMatch asks for a request field.
type FieldMatch struct {
	Want  int    // slot in Request.Want
	Name  string // as written
	Exact string // "" means: present
}

// Segment is one part of a path pattern, between slashes.
type Segment struct {
	Literal string // set when Capture is -1
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

// KeyProgram yields a key or nothing: its parts' values one after another.
type KeyProgram struct {
	Ops  []KeyOp
	Text string // as written
	// Direct programs are one operation without regex whose value is the key as it stands: no copy is made.
	Direct bool
}

// KeySource is where a part of a key comes from.
type KeySource uint8

const (
	FromLiteral KeySource = iota
	FromPath              // the whole path
	FromCapture           // Index: the capture
	FromSegment           // Index: path segment, 0-based; negative counts from the end
	FromHost              // without port, lower case
	FromMethod
	FromQuery  // Name
	FromField  // Index: slot in Request.Want
	FromCookie // Index: slot of "cookie"; Name
	FromJWT    // Index: slot of the field; Name: claim; Cookie: name when the token is in a cookie
	FromClientIP
	FromSNI
)

// KeyOp is one part of a key program.
type KeyOp struct {
	From   KeySource
	Index  int
	Name   string
	Text   string // literal text
	Cookie string
	Regexp Matcher // nil: the whole value; else capture group 1, or the whole match when it has none; no match, no key
	Verify Verifier
}

// Matcher is a compiled regular expression, of RE2's linear time. *regexp.Regexp has this method.
type Matcher interface {
	FindStringSubmatchIndex(s string) []int
}

// Verifier checks a JWT's signature and times at now (Unix seconds). Nil: the claim is used unverified, and says so.
type Verifier interface {
	Verify(token string, now int64) bool
}
