package listen

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
)

// OpenBeside is [OpenShared] for a process that holds sockets, of which some may overlap address: ":80" overlaps "10.0.0.1:80", and
// the other way round. Connections go to the socket with the more precise address while both are open. Where the system
// does not allow it, the error says which socket is in the way.
//
// leaving are those of held that will be closed. What address covers of them is taken along: the listener accepts from
// those sockets too, so that what waits in them, or arrives until they are closed, is not lost. With sockets of just this
// address among them it needs no others, however many they are.
func OpenBeside(address string, n int, held, leaving []net.Listener) (net.Listener, error) {
	m := mean(address)
	exact := false
	var along []net.Listener
	for _, ln := range sockets(leaving) {
		if ln.Addr().Network() == "tcp" && m.covers(ln.Addr()) {
			along, exact = append(along, ln), exact || m.is(ln.Addr())
		}
	}
	var lns []net.Listener
	if !exact {
		ln, err := openBeside(address, n, held)
		if err != nil {
			return nil, err
		}
		lns = sockets([]net.Listener{ln})
	}
	for _, ln := range along {
		own, err := reopen(ln)
		if err != nil {
			closeAll(lns)
			return nil, fmt.Errorf("listen on %s: take over our own %s: %w", address, ln.Addr(), err)
		}
		lns = append(lns, own)
	}
	return together(lns), nil
}

func openBeside(address string, n int, held []net.Listener) (net.Listener, error) {
	ln, err := OpenShared(address, n)
	if !errors.Is(err, syscall.EADDRINUSE) || strings.HasPrefix(address, "unix:") {
		return ln, err
	}
	m := mean(address)
	held = slices.DeleteFunc(sockets(held), func(h net.Listener) bool { return !m.overlaps(h.Addr()) })
	if len(held) == 0 {
		return nil, err // sockets of others are in the way, and those that share would let us in
	}
	if err = share(held); err == nil {
		ln, err = openSharing(address)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w by another process, or the system does not let them overlap: Linux does, where one user opened both, "+
			"which is not so beside a socket of systemd's", syscall.EADDRINUSE)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s beside our own %s: %w", address, held[0].Addr(), err)
	}
	return multiply(ln, address, n)
}

// reopen is a listener of its own on the socket of another.
func reopen(ln net.Listener) (net.Listener, error) {
	f, err := duplicate(ln, "")
	if err != nil {
		return nil, err
	}
	defer f.Close() // the listener has a duplicate
	own, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return unwatched(own)
}
