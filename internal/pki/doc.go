// Package pki reads what TLS is made of: authorities, responses to staple, ticket keys, the names in a client's
// certificate, and how a pool's nodes are verified. It is pure: files come as bytes, time as an argument.
//
// Guarantee: what several rooms say of a certificate or of a file of keys is said here once, so that `roost check` refuses
// what a listener would refuse, and a probe trusts a node exactly when requests do.
//
// Trap: a response to staple is matched and dated, but its signature is not checked: that is for clients, who have to do
// it in any case. A forged one would only be refused by them.
package pki
