package h1

import "strings"

// TrailerAllowed tells whether a field may stand in a trailer section, and thus be forwarded from one. Those may not
// that are needed before the content: for framing, routing, authentication, to modify the request, to understand the
// content (RFC 9110, 6.5.1). Someone behind us might merge trailers into the head and believe them. id is the field's
// Field.ID.
func TrailerAllowed(name string, id FieldID) bool {
	if id != Other {
		return id == EndpointLoadMetrics // ORCA reports of streams come at their end
	}
	// Conditions (If-Match and so on) modify the request.
	if len(name) >= 3 && strings.EqualFold(name[:3], "if-") {
		return false
	}
	for _, no := range notInTrailers {
		if strings.EqualFold(name, no) {
			return false
		}
	}
	return true
}

// notInTrailers are fields without an identity that may not stand in trailers. It is a constant in all but name.
var notInTrailers = [...]string{
	"age", "authorization", "cache-control", "content-encoding", "content-range", "expires", "location",
	"pragma", "range", "set-cookie", "vary", "warning", "www-authenticate",
}
