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

// OpenBeside is Open for a process that holds old, of which one may overlap address: ":80" overlaps "10.0.0.1:80", and the
// other way round. While both are open, connections go to the socket with the more precise address. Where the system
// does not allow it, the error says which socket is in the way.
func OpenBeside(address string, old []net.Listener) (net.Listener, error) {
	ln, err := Open(address)
	if !errors.Is(err, syscall.EADDRINUSE) || strings.HasPrefix(address, "unix:") {
		return ln, err
	}
	_, port, _ := net.SplitHostPort(address)
	old = slices.DeleteFunc(sockets(old), func(o net.Listener) bool {
		_, p, _ := net.SplitHostPort(o.Addr().String())
		return p != port || o.Addr().Network() != "tcp"
	})
	if len(old) == 0 {
		return nil, err
	}
	ln, err = besides(address, old)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w by another process, or the system does not let them overlap: Linux does, where one user opened both, "+
			"which is not so beside a socket of systemd's", syscall.EADDRINUSE)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s beside our own %s: %w", address, old[0].Addr(), err)
	}
	return ln, nil
}

// besides opens address with every socket told to share its port (SO_REUSEPORT), which Linux allows of one that listens
// already. Nobody gets in by it who does not ask to share as well, and is the same user.
func besides(address string, old []net.Listener) (net.Listener, error) {
	for _, o := range old {
		c, err := o.(syscall.Conn).SyscallConn()
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

// sockets are the single sockets that lns consist of.
func sockets(lns []net.Listener) []net.Listener {
	var all []net.Listener
	for _, ln := range lns {
		if many, ok := ln.(*several); ok {
			all = append(all, many.lns...)
		} else {
			all = append(all, ln)
		}
	}
	return all
}
