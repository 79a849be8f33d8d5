package listen

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// bindings returns what tells whether a socket's address is one that address means: ":80", "0.0.0.0:80" and "[::]:80" are
// one, as in package net. A name is looked up. Port 0 is a new port each time, and so never the same.
func bindings(address string) func(net.Addr) bool {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return func(a net.Addr) bool { return a.Network() == "unix" && samePath(path, a.String()) }
	}
	host, port, err := net.SplitHostPort(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || n == 0 {
		return func(net.Addr) bool { return false }
	}
	ips := resolve(host)
	return func(a net.Addr) bool {
		tcp, ok := a.(*net.TCPAddr)
		if !ok || tcp.Port != int(n) {
			return false
		}
		have := tcp.AddrPort().Addr().Unmap()
		return slices.ContainsFunc(ips, func(ip netip.Addr) bool {
			return ip == have || ip.IsUnspecified() && have.IsUnspecified()
		})
	}
}

// resolve returns what a host to listen on means; nothing when it cannot be found.
func resolve(host string) []netip.Addr {
	if host == "" {
		return []netip.Addr{netip.IPv6Unspecified()}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	ips, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host) // Open tells of a name that cannot be found
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips
}

// samePath tells whether two paths lead to one socket, as /run and /var/run do.
func samePath(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	x, xerr := os.Stat(a)
	y, yerr := os.Stat(b)
	return xerr == nil && yerr == nil && os.SameFile(x, y)
}
