// Package carry is the policy of one exchange: what a request must be to be accepted, which node it goes to, what is
// written to the node and to the client, and what follows when something breaks. It is pure: an engine reads and
// writes, carry says what.
//
// Guarantee: framing and hop-by-hop fields are never copied, always written anew from what was parsed (RFC 9110, 7.6;
// RFC 9112, 6); a keep-alive request passes without an allocation.
//
// Trap: an Exchange holds views of the engine's bytes. They must stay where they are from Accept to Finish.
package carry
