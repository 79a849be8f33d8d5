// Package route finds the route of a request and the key in it. Routes are compiled once, from the texts that an
// operator wrote; what runs per request is data, interpreted.
//
// Guarantee: same route and same request, same key, on every balancer and at any time (but for the times inside a JWT).
// Matching and finding keys take no lock, keep no memory and allocate nothing, with three exceptions that are bounded: a
// path that must be rewritten, a regular expression's result, and checking a JWT's signature.
//
// Paths are compared, and become keys, in one normal form of the raw target: percent-encoded unreserved octets (RFC
// 3986, 2.3) are decoded, the hex digits of all others are upper case, a stray percent sign is %25. Nothing else: case and
// trailing slashes matter, empty segments stay, and /a%2Fb never becomes /a/b, because a node tells them apart.
//
// Dot segments are neither resolved nor matched: a path that some node could read as holding "." or ".." matches no path
// pattern, only routes without one. Were they kept as text, /public/../admin would take the route of /public/{file...}
// while the node answers for /admin; were they resolved, nodes that do not resolve would see another path than the one
// that was matched. Honest clients resolve them before they send (RFC 3986, 5.2.4), so nothing is lost.
//
// Trap: routes are not access control. A node may find the same page behind paths that are not equal here (//admin,
// /ADMIN, %252e); who may see it is for the node to say.
package route
