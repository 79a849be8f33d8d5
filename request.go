package roost

import "net/netip"

// MaxWant is how many request fields the routes of one listener may look at together.
const MaxWant = 16

// MaxCaptures is how many captures one path pattern may have.
const MaxCaptures = 8

// Request is what routes and keys look at. Its strings are views into an engine's buffer and die with the call that
// got them; whoever keeps one copies it.
type Request struct {
	Method, Scheme string
	Host           string // authority, lower case not assumed; without the port it is Hostname
	Target         string // raw request target, origin or asterisk form
	SNI            string
	Path           string // set by route.Match: the target's path with only unreserved octets decoded
	Query          string // set by route.Match: raw, without '?'
	Want           [MaxWant]string
	Has            uint16              // bit i: Want[i] is present
	Captures       [MaxCaptures]string // set by route.Match for the route it returns
	Client         netip.Addr          // after the trust setting was applied
	Cert           *CertNames          // the client's certificate, when one was verified
	First          string              // what a raw connection began with, as far as it was read
	TLVs           string              // of the PROXY header that the connection began with, as on the wire
}

// CertNames are a verified client certificate's names.
type CertNames struct {
	CommonName string
	Orgs       []string
	OrgUnits   []string
	DNS        []string
	URIs       []string
	Emails     []string
	SPIFFE     string // trust domain and path of a valid SPIFFE ID, without spiffe://; "": it has none
}

// Key is what must stay together. Bytes alias the request view or a scratch buffer and die with them.
type Key struct {
	Hash  KeyHash // by the table's Hash; 0 until computed
	Bytes []byte
}
