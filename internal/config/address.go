package config

import (
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"roost"
)

// maxUnixPath is how long the path of a unix socket can be: sun_path less its final NUL.
const maxUnixPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// address is a place to listen on or to dial, in canonical form.
type address struct {
	text string // host:port, [v6]:port or unix:/path: lower case, addresses in their shortest form
	host string
	ip   netip.Addr // not valid for names and unix sockets
	port int
	unix bool
}

// purpose is what an address is for.
type purpose uint8

const (
	forListening purpose = iota // the host may be left out, and port 0 means any that is free
	forDialling
)

// local reports whether only this machine can reach a listener there.
func (a address) local() bool { return a.unix || a.ip.IsLoopback() || a.host == "localhost" }

// wild reports whether a listener there takes every address of the machine. Go listens on both families then.
func (a address) wild() bool { return !a.unix && (a.host == "" || a.ip.IsUnspecified()) }

// overlaps reports whether two listeners want the same address.
func (a address) overlaps(b address) bool {
	if a.unix || b.unix {
		return a.text == b.text
	}
	sameHost := a.wild() || b.wild() || a.host == b.host || a.host == "localhost" && b.ip.IsLoopback() || b.host == "localhost" && a.ip.IsLoopback()
	return a.port == b.port && a.port != 0 && sameHost
}

// address reads an address that stands v.off bytes into v.
func (d *decoder) address(v value, text string, use purpose) (a address, ok bool) {
	if name, ok := strings.CutPrefix(text, "unix:"); ok {
		return d.unixAddress(v, name)
	}
	bad := func(off int, fix, format string, args ...any) (address, bool) {
		d.fail(v.at(v.off+off), CodeValue, fix, format, args...)
		return address{}, false
	}
	if i := strings.Index(text, "://"); i > 0 {
		rest, _, _ := strings.Cut(text[i+3:], "/")
		return bad(0, fmt.Sprintf("write %q", clip(rest)), "an address has no scheme")
	}
	i := strings.LastIndexByte(text, ':')
	host, port := text[:max(i, 0)], text[i+1:]
	bracketed := strings.HasPrefix(text, "[")
	switch {
	case text == "":
		return bad(0, "", "the address is empty")
	case strings.Trim(text, "0123456789") == "":
		return bad(0, fmt.Sprintf("write for example %q", map[purpose]string{forDialling: "10.0.0.11:", forListening: ":"}[use]+clip(text)), "%s is a port without a host", quoted(text))
	case i < 0 || bracketed && strings.HasSuffix(text, "]"):
		return bad(len(text), fmt.Sprintf("write for example %q", clip(text)+":8080"), "%s has no port", quoted(text))
	case !bracketed && strings.Contains(host, ":"):
		fix := "[" + text + "]:8080"
		if _, err := netip.ParseAddr(host); err == nil {
			fix = "[" + host + "]:" + port
		}
		return bad(0, fmt.Sprintf("write for example %q", clip(fix)), "an IPv6 address stands in brackets, with a port behind it")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 && use == forDialling || port[0] == '+' {
		return bad(i+1, "", "%s is not a port, which is a number from 1 to 65535", quoted(port))
	}
	a.port = int(n)
	if a.host, a.ip, ok = d.host(v, host, use); !ok {
		return address{}, false
	}
	a.text = fmt.Sprintf("%s:%d", a.host, n)
	if a.ip.Is6() {
		a.text = fmt.Sprintf("[%s]:%d", a.host, n)
	}
	return a, true
}

// host reads what stands before the port.
func (d *decoder) host(v value, host string, use purpose) (name string, ip netip.Addr, ok bool) {
	bad := func(off int, fix, format string, args ...any) (string, netip.Addr, bool) {
		d.fail(v.at(v.off+off), CodeValue, fix, format, args...)
		return "", netip.Addr{}, false
	}
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		if inner, ok = strings.CutSuffix(inner, "]"); !ok {
			return bad(0, "", "this bracket is never closed")
		}
	}
	if ip, err := netip.ParseAddr(inner); err == nil && bracketed == ip.Is6() {
		ip = ip.Unmap()
		if use == forDialling && (ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255})) {
			return bad(0, "", "%s is not the address of one machine", ip)
		}
		return ip.String(), ip, true
	}
	if bracketed {
		return bad(1, "", "%s is not an IPv6 address", quoted(inner))
	}
	if host == "" {
		if use == forListening {
			return "", netip.Addr{}, true
		}
		return bad(0, "", "the host is missing")
	}
	if off, why := notAHostname(host); why != "" {
		return bad(off, "", "%s is not a host: %s", quoted(host), why)
	}
	return lowerASCII(host), netip.Addr{}, true
}

// notAHostname says where and why host is not a name that can be looked up (RFC 1123, 2.1; with underscores, which
// container networks use).
func notAHostname(host string) (off int, why string) {
	if len(host) > 253 {
		return 0, "it has more than 253 characters"
	}
	start, last := 0, ""
	for i := 0; i <= len(host); i++ {
		if i < len(host) && host[i] != '.' {
			switch c, _ := utf8.DecodeRuneInString(host[i:]); {
			case c >= utf8.RuneSelf:
				return i, "write it as it is looked up, in Punycode (xn--...)"
			case c != '-' && !isWordByte(host[i]):
				return i, fmt.Sprintf("%q cannot stand in a name", c)
			}
			continue
		}
		label := host[start:i]
		if label == "" && (i < len(host) || start == 0) || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return start, "its parts have 1 to 63 characters and neither begin nor end with -"
		}
		if label != "" {
			last = label
		}
		start = i + 1
	}
	// Some resolvers take 127.1, 0x7f.1 and 2130706433 for addresses, others for names.
	if c := last[0]; '0' <= c && c <= '9' {
		if _, err := strconv.ParseUint(last, 0, 64); err == nil || strings.Trim(last, "0123456789") == "" {
			return 0, "a name does not end with a number, and it is not a whole IP address"
		}
	}
	return 0, ""
}

func (d *decoder) unixAddress(v value, name string) (address, bool) {
	switch {
	case !strings.HasPrefix(name, "/"):
		d.fail(v, CodeValue, "write for example unix:/run/app.sock", "the path of a unix socket must be absolute")
	case len(name) > maxUnixPath:
		d.fail(v, CodeRange, "", "the path of a unix socket has at most %d bytes, this has %d", maxUnixPath, len(name))
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }):
		d.fail(v, CodeValue, "", "the path of a unix socket is UTF-8 without control characters")
	default:
		name = path.Clean(name)
		return address{text: "unix:" + name, unix: true}, true
	}
	return address{}, false
}

// shortNode reads a node's short form, [NAME=]ADDRESS[*WEIGHT].
func (d *decoder) shortNode(v value, text string) (n roost.Node, a address, ok bool) {
	n.Weight = roost.WeightOne
	if name, rest, ok := strings.Cut(text, "="); ok && !strings.ContainsAny(name, ":/[") {
		if !d.isName(v, name) {
			return n, a, false
		}
		n.ID = roost.NodeID(name)
		v, text = v.at(len(name)+1), rest
	}
	if i := strings.LastIndexByte(text, '*'); i >= 0 && !strings.HasPrefix(text, "unix:") {
		if n.Weight, ok = d.weight(v.at(v.off+i+1), text[i+1:]); !ok {
			return n, a, false
		}
		text = text[:i]
	}
	a, ok = d.address(v, text, forDialling)
	n.Addr = a.text
	return n, a, ok
}

// Node reads a node's short form, [NAME=]ADDRESS[*WEIGHT], as --nodes and files have it: its address is canonical, and its
// id the name or else the address. Whether its pool takes link-local addresses is for those to ask who know the pool.
func Node(text string) (roost.Node, error) {
	d := &decoder{room: maxText}
	n, _, ok := d.shortNode(value{}, text)
	if !ok {
		g := &d.found[0]
		if g.Fix != "" {
			return roost.Node{}, fmt.Errorf("read node %s: %s; %s", quoted(text), g.Message, g.Fix)
		}
		return roost.Node{}, fmt.Errorf("read node %s: %s", quoted(text), g.Message)
	}
	if n.ID == "" {
		n.ID = roost.NodeID(n.Addr)
	}
	return n, nil
}

// weight reads a node's weight into thousandths.
func (d *decoder) weight(v value, text string) (uint32, bool) {
	w, err := strconv.ParseFloat(text, 64)
	if err != nil || w != w {
		d.fail(v, CodeValue, "", "%s is not a number", quoted(text))
		return 0, false
	}
	if w < minWeight || w > maxWeight {
		d.fail(v, CodeRange, "", "%s is out of range, which is %v to %v", quoted(text), minWeight, maxWeight)
		return 0, false
	}
	return uint32(w*roost.WeightOne + 0.5), true
}

// minWeight is the least that the table can hold; beyond maxWeight one node is so much of a pool that the others do not
// count.
const minWeight, maxWeight = 0.001, 1000.0

func isWordByte(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// isToken reports whether s is a token of RFC 9110, 5.6.2, or protocol/version of two.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isWordByte(c) && strings.IndexByte("!#$%&'*+-.^`|~/", c) < 0 {
			return false
		}
	}
	return s != "" && s[0] != '/' && len(s) <= maxName
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
