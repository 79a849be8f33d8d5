package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenShared is [Open] with n sockets on one address, over which the kernel spreads what arrives (SO_REUSEPORT), so that
// each of n loops accepts from its own. The result accepts from all of them, and has them by Sockets() []net.Listener. It
// is one socket, without that method, for a unix socket, for n below 2, and where the system does not spread: outside of
// Linux.
//
// The address is as exclusively ours as by Open: the first socket is bound before any is told to share. Trap: closing one
// socket of several resets what waits in its queue, which the others cannot take (net.ipv4.tcp_migrate_req is off by
// default). So their number never changes in a process, and an upgrade passes on all of them.
func OpenShared(address string, n int) (net.Listener, error) {
	ln, err := Open(address)
	if err != nil {
		return nil, err
	}
	return multiply(ln, address, n)
}

// multiply adds what ln lacks of n sockets, or closes it.
func multiply(ln net.Listener, address string, n int) (net.Listener, error) {
	if n <= 1 || runtime.GOOS != "linux" || ln.Addr().Network() != "tcp" {
		return ln, nil
	}
	lns := []net.Listener{ln}
	err := share(lns)
	for err == nil && len(lns) < n {
		var next net.Listener
		if next, err = openSharing(ln.Addr().String()); err == nil { // not address: its port may be 0
			lns = append(lns, next)
		}
	}
	if err != nil {
		closeAll(lns)
		return nil, fmt.Errorf("listen on %s with %d sockets: %w", address, n, reason(err))
	}
	return together(lns), nil
}

// openSharing opens an address that sockets which share their port may have already. Nobody gets in by it who does not ask
// to share as well, and is the same user.
func openSharing(address string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	ln, err := listenConfig(sharePort).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return unwatched(ln)
}

// share tells sockets to share their port, which Linux allows of one that listens already.
func share(lns []net.Listener) error {
	for _, ln := range lns {
		sc, ok := ln.(syscall.Conn)
		if !ok {
			return fmt.Errorf("%T is not a socket", ln)
		}
		c, err := sc.SyscallConn()
		if err == nil {
			err = sharePort("", "", c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sharePort is a [net.ListenConfig]'s Control.
func sharePort(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	return errors.Join(err, os.NewSyscallError("setsockopt SO_REUSEPORT", set))
}
