package h1

// Span is a part of the bytes that were parsed: [Off, End).
type Span struct{ Off, End uint32 }

// Len is the number of bytes of the span.
func (s Span) Len() int { return int(s.End - s.Off) }

// In returns the span's part of text, which must begin where the parsed bytes began.
func (s Span) In(text string) string { return text[s.Off:s.End] }

// Kind tells requests from responses.
type Kind uint8

const (
	Request Kind = iota
	Response
)

// Method is a request method that changes how a message is framed or may be repeated; all others are MethodOther.
type Method uint8

const (
	MethodOther Method = iota
	GET
	HEAD
	POST
	PUT
	DELETE
	OPTIONS
	TRACE
	PATCH
	CONNECT
)

// Form is the form of a request target (RFC 9112, 3.2).
type Form uint8

const (
	OriginForm    Form = iota // /path?query
	AbsoluteForm              // http://authority/path
	AuthorityForm             // host:port, for CONNECT
	AsteriskForm              // *, for OPTIONS
)

// FieldID names the fields that a proxy must know.
type FieldID uint8

const (
	Other FieldID = iota
	Connection
	ContentLength
	ContentType
	Cookie
	Date
	EarlyData
	EndpointLoadMetrics
	Expect
	Forwarded
	FXLBWait
	Host
	HTTP2Settings
	KeepAlive
	MaxForwards
	ProxyAuthenticate
	ProxyAuthorization
	ProxyConnection
	RetryAfter
	TE
	Trailer
	TransferEncoding
	Upgrade
	Via
	XForwardedFor
	XForwardedHost
	XForwardedProto
	RoostRelay
)

// FieldSet is a set of FieldIDs, as bits: bit i stands for the ID i. A set with [Other] says nothing.
type FieldSet uint64

// Has tells whether the set holds an ID.
func (s FieldSet) Has(id FieldID) bool { return s>>id&1 != 0 }

const _ = uint(63 - RoostRelay) // the last ID still has a bit

// Field is one field line. Value has no white space around it.
type Field struct {
	Name, Value Span
	ID          FieldID
}

// Head is a parsed message head. Spans are offsets into the bytes that were parsed, so a Head holds no buffer.
type Head struct {
	Kind   Kind
	Minor  uint8 // of HTTP/1.x: 0 or 1; a higher one counts as 1, the highest we speak
	Method Method
	Form   Form
	Status uint16 // responses
	Size   int    // bytes of the head, its empty line included

	MethodName Span
	Target     Span // as sent
	Authority  Span // of AbsoluteForm and AuthorityForm targets, else empty
	Scheme     Span // of AbsoluteForm targets, else empty
	// Origin is the path and query of the target; "*" for AsteriskForm, empty for AuthorityForm. The path of an AbsoluteForm
	// may be empty: then Origin is empty or begins with '?', and a '/' belongs before it.
	Origin Span
	Reason Span // responses

	Fields []Field // in order; the slice is reused by the next parse

	// What the fields say, gathered while parsing.
	Seen        FieldSet // the IDs of Fields
	Host        Span     // value of the only Host field
	HasHost     bool
	Length      int64                // Content-Length; -1 when absent
	Chunked     bool                 // Transfer-Encoding: chunked
	Close       bool                 // Connection: close
	KeepAlive   bool                 // Connection: keep-alive
	Upgrade     Span                 // value of Upgrade when Connection lists upgrade; else empty
	Expect100   bool                 // Expect: 100-continue
	TETrailers  bool                 // TE: trailers
	NOptions    uint8                // names in Options
	ConnOptions [MaxConnOptions]Span // other names listed in Connection: their fields are hop-by-hop
}

// MaxConnOptions bounds the names that Connection may list beside close, keep-alive and upgrade. A message with more is refused: no
// honest sender has them, and each costs a comparison per field.
const MaxConnOptions = 8
