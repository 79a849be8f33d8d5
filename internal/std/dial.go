package std

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"roost"
)

// dialer connects to nodes. The zero dialer is ready.
type dialer struct {
	names   resolver
	net     net.Dialer // TCP_NODELAY and keep-alive probes are Go's default
	secrecy secrecy
}

// minTry is the least that one of several addresses gets, so that a first one that drops packets leaves time for the
// others, and many addresses still get a fair one each.
const minTry = 2 * time.Second

// place is where a node is: its address, whether the operator allows that it is link-local, and how it is spoken to.
type place struct {
	addr      string
	linkLocal bool
	tls       *roost.NodeTLS // nil: in clear text
	protocol  string         // spoken under TLS, as in ALPN; "": none is agreed on
	header    []byte         // a PROXY header to begin with, in front of TLS
}

// placeOf is where the node of an attempt is.
func placeOf(a *roost.Attempt, s *roost.PoolSettings, protocol string) place {
	return place{addr: a.Addr, linkLocal: s.AllowLinkLocal, tls: s.TLS, protocol: protocol}
}

// dial connects to an address of a node, host:port or unix:/path, over all the addresses of its name, and makes TLS of it
// where its pool wants that, all until limit. The fault says in one word what the error says in many.
func (d *dialer) dial(ctx context.Context, to place, limit time.Duration, now time.Time) (net.Conn, roost.Fault, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, now.Add(limit))
		defer cancel()
	}
	c, fault, err := d.reach(ctx, to, now)
	if err == nil && len(to.header) > 0 {
		if _, err = c.Write(to.header); err != nil { // into the empty buffer of a new connection, so that it never waits
			c.Close()
			return nil, roost.FaultReset, err
		}
	}
	if err != nil || to.tls == nil {
		return c, fault, err
	}
	t, err := d.secrecy.with(ctx, c, to)
	if err != nil {
		return nil, roost.FaultTLS, err
	}
	return t, roost.NoFault, nil
}

// reach connects to an address of a node.
func (d *dialer) reach(ctx context.Context, to place, now time.Time) (net.Conn, roost.Fault, error) {
	if path, ok := strings.CutPrefix(to.addr, "unix:"); ok {
		c, err := d.net.DialContext(ctx, "unix", path)
		return c, connectFault(err), err
	}
	host, port, err := net.SplitHostPort(to.addr)
	if err != nil {
		return nil, roost.FaultResolve, fmt.Errorf("address of the node: %w", err)
	}
	addrs := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, ip)
	} else if addrs, err = d.names.lookup(ctx, host, now); err != nil {
		return nil, roost.FaultResolve, err
	}
	return d.try(ctx, addrs, port, to.linkLocal)
}

// try dials one address after the other. Of several failures the first one is told.
func (d *dialer) try(ctx context.Context, addrs []netip.Addr, port string, linkLocal bool) (conn net.Conn, fault roost.Fault, err error) {
	fault, err = roost.FaultResolve, errors.New("the node's name has no address")
	for i, ip := range addrs {
		c, f, e := d.one(ctx, ip, port, len(addrs)-i, linkLocal)
		if e == nil {
			return c, roost.NoFault, nil
		}
		if i == 0 {
			fault, err = f, e
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fault, err
}

func (d *dialer) one(ctx context.Context, ip netip.Addr, port string, left int, linkLocal bool) (net.Conn, roost.Fault, error) {
	// Checked here and not where the name was configured: what a name resolves to is someone else's to change.
	if ip = ip.Unmap(); roost.Forbidden(ip) && !linkLocal {
		return nil, roost.FaultForbidden, fmt.Errorf("dial %s: address is link-local or of a metadata service", ip)
	}
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(time.Until(deadline)/time.Duration(left), minTry))
		defer cancel()
	}
	c, err := d.net.DialContext(ctx, "tcp", net.JoinHostPort(ip.String(), port))
	return c, connectFault(err), err
}

// connectFault tells refusals, which cost a node nothing and come at once, from silence, and both from our own limits.
func connectFault(err error) roost.Fault {
	switch {
	case err == nil:
		return roost.NoFault
	case anyOf(err, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ENOENT):
		return roost.FaultRefused
	case anyOf(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL):
		return roost.FaultLocal
	}
	return roost.FaultConnect
}

func anyOf(err error, errnos ...syscall.Errno) bool {
	for _, e := range errnos {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
