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

// meaning is what an address to listen on means: a path, or a port on some IPs. ":80", "0.0.0.0:80" and "[::]:80" mean the
// same, as in package net.
type meaning struct {
	path string
	port int // 0: a new one each time, or none
	ips  []netip.Addr
}

// mean looks up a name. What Open would refuse means nothing.
func mean(address string) meaning {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return meaning{path: path}
	}
	host, text, err := net.SplitHostPort(address)
	port, perr := strconv.ParseUint(text, 10, 16)
	if err != nil || perr != nil || port == 0 {
		return meaning{}
	}
	return meaning{port: int(port), ips: resolve(host)}
}

// is tells whether a socket at a is one that the address means.
func (m *meaning) is(a net.Addr) bool {
	if m.path != "" {
		return a.Network() == "unix" && samePath(m.path, a.String())
	}
	tcp, ok := a.(*net.TCPAddr)
	if !ok || m.port == 0 || tcp.Port != m.port {
		return false
	}
	have := tcp.AddrPort().Addr().Unmap()
	return slices.ContainsFunc(m.ips, func(ip netip.Addr) bool {
		return ip == have || ip.IsUnspecified() && have.IsUnspecified()
	})
}

// covers tells whether everything that arrives at a is for the address too.
func (m *meaning) covers(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return m.is(a) || ok && m.port != 0 && tcp.Port == m.port && slices.ContainsFunc(m.ips, netip.Addr.IsUnspecified)
}

// overlaps tells whether something can arrive that is for a as well as for the address.
func (m *meaning) overlaps(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && (m.covers(a) || m.port != 0 && tcp.Port == m.port && tcp.AddrPort().Addr().IsUnspecified())
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
