package h1

// fieldNames are the names of the fields with an identity, in lower case. Like byLength, it is a constant in all but
// name: nothing writes to it.
var fieldNames = [...]string{
	Connection:          "connection",
	ContentLength:       "content-length",
	ContentType:         "content-type",
	Cookie:              "cookie",
	Date:                "date",
	EarlyData:           "early-data",
	EndpointLoadMetrics: "endpoint-load-metrics",
	Expect:              "expect",
	Forwarded:           "forwarded",
	FXLBWait:            "xxx-fxlb-wait",
	Host:                "host",
	HTTP2Settings:       "http2-settings",
	KeepAlive:           "keep-alive",
	MaxForwards:         "max-forwards",
	ProxyAuthenticate:   "proxy-authenticate",
	ProxyAuthorization:  "proxy-authorization",
	ProxyConnection:     "proxy-connection",
	RetryAfter:          "retry-after",
	TE:                  "te",
	Trailer:             "trailer",
	TransferEncoding:    "transfer-encoding",
	Upgrade:             "upgrade",
	Via:                 "via",
	XForwardedFor:       "x-forwarded-for",
	XForwardedHost:      "x-forwarded-host",
	XForwardedProto:     "x-forwarded-proto",
	RoostRelay:          "roost-relay",
}

// byLength holds the fields whose names are that long.
var byLength = [...][3]FieldID{
	2:  {TE},
	3:  {Via},
	4:  {Host, Date},
	6:  {Cookie, Expect},
	7:  {Trailer, Upgrade},
	9:  {Forwarded},
	10: {Connection, EarlyData, KeepAlive},
	11: {RetryAfter, RoostRelay},
	12: {ContentType, MaxForwards},
	13: {FXLBWait},
	14: {ContentLength, HTTP2Settings},
	15: {XForwardedFor},
	16: {ProxyConnection, XForwardedHost},
	17: {TransferEncoding, XForwardedProto},
	18: {ProxyAuthenticate},
	19: {ProxyAuthorization},
	21: {EndpointLoadMetrics},
}

// idOf finds the identity of a field by its name, which must be a token.
func idOf(name []byte) FieldID {
	if len(name) >= len(byLength) {
		return Other
	}
	for _, id := range byLength[len(name)] {
		if id == Other {
			break
		}
		if equalFold(name, fieldNames[id]) {
			return id
		}
	}
	return Other
}

// lineReader reads one field line that may arrive in pieces: field-name ":" OWS field-value OWS CRLF (RFC 9112, 5). The
// zero lineReader stands at a line's beginning, and does so again behind each complete line.
type lineReader struct {
	scan  int // how far the line was read
	colon int // where its colon stands; 0 before it was met
}

// read goes on with b, which begins where the line begins; base is added to all spans. used is the length of the complete
// line, its end included, or 0: more bytes are wanted. A line of nothing but its end gives a field without a name.
func (l *lineReader) read(b []byte, base uint32) (f Field, used int, _ Reason) {
	i, colon := l.scan, l.colon
	if colon == 0 {
		i += span(b[i:], isToken)
		if i == len(b) {
			l.scan = i
			return f, 0, 0
		}
		if i == 0 || b[i] != ':' {
			return l.odd(b, i)
		}
		colon = i
		i++
	}
	i += text(b[i:])
	end, r := lineEnd(b[i:], ErrFieldValueInvalid)
	if end == 0 {
		l.scan, l.colon = i, colon
		return f, 0, r
	}
	*l = lineReader{}
	from, to := colon+1, i
	for from < to && (b[from] == ' ' || b[from] == '\t') {
		from++
	}
	for to > from && (b[to-1] == ' ' || b[to-1] == '\t') {
		to--
	}
	f.Name = Span{base, base + uint32(colon)}
	f.Value = Span{base + uint32(from), base + uint32(to)}
	f.ID = idOf(b[:colon])
	return f, i + end, 0
}

// odd judges a line with something else than a name and a colon before b[i]: the empty line, or a mistake.
func (l *lineReader) odd(b []byte, i int) (_ Field, used int, r Reason) {
	blank := b[i] == ' ' || b[i] == '\t'
	switch {
	case i == 0 && blank:
		r = ErrObsFold
	case i == 0:
		used, r = lineEnd(b, ErrFieldNameInvalid)
	case blank:
		r = ErrFieldNameSpace // proxies that forgave it were holes (RFC 9112, 5.1)
	case b[i] == '\r' || b[i] == '\n':
		r = ErrFieldColonMissing
	default:
		r = ErrFieldNameInvalid
	}
	return Field{}, used, r
}

// lineEnd reads CRLF at the beginning of b. n is 2, or 0 while it is not all there; other is the reason when b begins with
// something else.
func lineEnd(b []byte, other Reason) (n int, _ Reason) {
	switch {
	case len(b) == 0:
		return 0, 0
	case b[0] == '\n':
		return 0, ErrBareLF
	case b[0] != '\r':
		return 0, other
	case len(b) == 1:
		return 0, 0
	case b[1] != '\n':
		return 0, ErrBareCR
	}
	return 2, 0
}
