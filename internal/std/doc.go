// Package std is the engine for every system: a goroutine per client connection on net.Conn, driven by the same policy
// (carry) and the same HTTP/1.1 (h1) as any other engine. net/http does HTTP/2 and nothing else.
//
// Guarantee: what is accepted is answered, by a node or by a precise error; what is cut short never looks complete to
// either side; every buffer, queue and wait has a limit.
//
// Trap: a client that ends its side after its request is not gone (RFC 9112, 9.6 lets it wait for the answer), and a
// request without a body leaves nothing to read. So a client that went away in HTTP/1.1 is noticed when something is
// written to it, not before; in HTTP/2 at once.
package std
