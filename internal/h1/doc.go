// Package h1 is HTTP/1.1 once: a pure, strict, incremental state machine for heads and bodies of requests and responses
// (RFC 9110, RFC 9112). Bytes in, meaning out; no I/O, no clock, no allocation in the steady state.
//
// Guarantee: however the input is split, the answer is the same; what is ambiguous is refused, never guessed, because a
// proxy and a node that read one message differently are a request-smuggling hole.
//
// Trap: a Head holds offsets, not text. It means something only beside the very bytes that were parsed.
package h1
