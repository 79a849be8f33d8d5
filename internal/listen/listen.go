// Package listen opens the addresses that take traffic and keeps the certificates that are shown on them.
//
// A listener that opened is exclusively ours, and a TLS handshake never waits: certificates stand behind one atomic
// pointer, and a changed file that cannot be used leaves the old certificate in place.
//
// Trap: session ticket keys belong to the *tls.Config. Take one from [Certs.TLS] and keep it for the listener's life;
// it follows changed files by itself.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// lookupTimeout bounds the look-up of a host name to listen on, so that a start without DNS fails instead of hanging.
	lookupTimeout = 5 * time.Second
	// answerTimeout bounds the question whether anyone answers on a unix socket. Its kernel answers, not its owner.
	answerTimeout = time.Second
	// socketMode lets owner and group connect; others are kept out, as they may reach every pool through the socket.
	socketMode fs.FileMode = 0o660
	// privileged is the first port that needs no right of its own (ip_unprivileged_port_start's default).
	privileged = 1024
)

// maxUnixPath is how long the path of a unix socket can be: sun_path less its final NUL.
const maxUnixPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// Open listens on host:port, :port (every interface, IPv4 and IPv6), [v6]:port or unix:/path. The error says what stands
// in the way and wraps the system's.
//
// A unix socket gets mode 0660 and is removed when the listener is closed. One that a dead process left behind is
// replaced; one that anybody answers on is not. Accepted TCP connections have TCP_NODELAY set and the backlog is the
// system's limit (net.core.somaxconn), both by Go's defaults.
func Open(address string) (net.Listener, error) {
	open := openTCP
	name, unix := strings.CutPrefix(address, "unix:")
	if unix {
		open = openUnix
	}
	ln, err := open(name)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return ln, nil
}

func openTCP(address string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w; want host:port, :port, [v6]:port or unix:/path", reason(err))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	ln, err := listenConfig(nil).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, explain(err, n)
	}
	return unwatched(ln)
}

// listenConfig is for plain TCP. Multipath TCP, which Go would take where the system has it, costs each connection of
// those who do not speak it, and its sockets are not what splice and the loops know.
func listenConfig(control func(network, address string, c syscall.RawConn) error) *net.ListenConfig {
	lc := &net.ListenConfig{Control: control}
	lc.SetMultipathTCP(false)
	return lc
}

// explain adds to the system's reason what an operator can do about it.
func explain(err error, port uint64) error {
	switch err = reason(err); {
	case errors.Is(err, fs.ErrPermission) && 0 < port && port < privileged:
		return fmt.Errorf("%w; ports below %d need CAP_NET_BIND_SERVICE", err, privileged)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w by another process", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w; no interface of this machine has it", err)
	}
	return err
}

func openUnix(path string) (net.Listener, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("the path of a unix socket must be absolute, as in unix:/run/roost.sock")
	}
	if len(path) > maxUnixPath {
		return nil, fmt.Errorf("the path has %d bytes; a unix socket's can have %d", len(path), maxUnixPath)
	}
	ln, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		ln, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, reason(err)
	}
	// Until here the umask decided. Connecting needs the right to write, which an ordinary one (022) gives to us alone.
	if err := os.Chmod(path, socketMode); err != nil {
		ln.Close()
		return nil, fmt.Errorf("let owner and group connect: %w", reason(err))
	}
	return ln, nil
}

// removeStale removes the socket of a process that is gone.
//
// Two processes that start on one stale socket at the same time: (1) both find nobody; (2) A removes the file and binds;
// (3) B would remove A's new socket, and A would be deaf. B finds in (3) that the file is not the one it asked about. What
// remains is the moment between that look and the removal; starting one balancer twice in the same instant is the
// operator's error already.
func removeStale(path string) error {
	found, err := os.Lstat(path)
	if err != nil {
		return reason(err)
	}
	if found.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is not a socket is in the way")
	}
	conn, err := net.DialTimeout("unix", path, answerTimeout)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w by another process", syscall.EADDRINUSE)
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(found, now) {
		return fmt.Errorf("%w by another process that is starting", syscall.EADDRINUSE)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the socket of a dead process: %w", reason(err))
	}
	return nil
}

// reason is the part of err that our own words do not already say.
func reason(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	if addr, ok := errors.AsType[*net.AddrError](err); ok {
		return errors.New(addr.Err)
	}
	return err
}
