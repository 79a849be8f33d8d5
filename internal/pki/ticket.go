package pki

import (
	"bytes"
	"crypto/sha256"
	"fmt"
)

// MaxTicketKeys bounds the keys of one listener: each is tried on a ticket that none has made. Keys are changed every few
// hours, and a ticket lives for at most a week.
const MaxTicketKeys = 32

// TicketKey makes a key for session tickets of a file of random bytes, 48 or 80 as nginx's ssl_session_ticket_key takes
// them. Balancers with the same files resume each other's sessions; those of nginx are not understood.
func TicketKey(file []byte) (key [32]byte, err error) {
	switch {
	case len(file) != 48 && len(file) != 80:
		return key, fmt.Errorf("it has %d bytes; a ticket key has 48 or 80, as openssl rand 80 makes them", len(file))
	case bytes.Count(file, file[:1]) == len(file):
		return key, fmt.Errorf("all its bytes are %#02x: it is not random", file[0])
	}
	return sha256.Sum256(file), nil
}
