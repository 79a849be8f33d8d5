package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenBeside is Open for a process that holds sockets, of which some may overlap address: ":80" overlaps "10.0.0.1:80", and
// the other way round. Connections go to the socket with the more precise address while both are open. Where the system
// does not allow it, the error says which socket is in the way.
//
// leaving are those of held that will be closed. What address covers of them is taken along: the listener accepts from
// those sockets too, so that what waits in them, or arrives until they are closed, is not lost.
func OpenBeside(address string, held, leaving []net.Listener) (net.Listener, error) {
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
		ln, err := openBeside(address, held)
		if err != nil {
			return nil, err
		}
		lns = append(lns, ln)
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

func openBeside(address string, held []net.Listener) (net.Listener, error) {
	ln, err := Open(address)
	if !errors.Is(err, syscall.EADDRINUSE) || strings.HasPrefix(address, "unix:") {
		return ln, err
	}
	_, port, _ := net.SplitHostPort(address)
	held = slices.DeleteFunc(sockets(held), func(h net.Listener) bool {
		_, p, _ := net.SplitHostPort(h.Addr().String())
		return p != port || h.Addr().Network() != "tcp"
	})
	if len(held) == 0 {
		return nil, err
	}
	ln, err = besides(address, held)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w by another process, or the system does not let them overlap: Linux does, where one user opened both, "+
			"which is not so beside a socket of systemd's", syscall.EADDRINUSE)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s beside our own %s: %w", address, held[0].Addr(), err)
	}
	return ln, nil
}

// reopen is a listener of its own on the socket of another.
func reopen(ln net.Listener) (net.Listener, error) {
	f, err := duplicate(ln, "")
	if err != nil {
		return nil, err
	}
	defer f.Close() // the listener has a duplicate
	return net.FileListener(f)
}

// besides opens address with every socket told to share its port (SO_REUSEPORT), which Linux allows of one that listens
// already. Nobody gets in by it who does not ask to share as well, and is the same user.
func besides(address string, held []net.Listener) (net.Listener, error) {
	for _, h := range held {
		c, err := h.(syscall.Conn).SyscallConn()
		if err != nil {
			return nil, err
		}
		if err := sharePort("", "", c); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	return (&net.ListenConfig{Control: sharePort}).Listen(ctx, "tcp", address)
}

// sharePort is a [net.ListenConfig]'s Control.
func sharePort(_, _ string, c syscall.RawConn) error {
	var set error
	if err := c.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt SO_REUSEPORT", set)
}
