package intent

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"roost"
)

const (
	// maxName bounds names of nodes and zones: they stand in every log line and metric. It is also the limit of a DNS label.
	maxName = 63
	// maxHost is the longest name that DNS can hold (RFC 1035, 2.3.4).
	maxHost = 253
	// maxUnixPath is the longest that any system takes (Linux: sun_path less its final NUL). Whoever dials it knows its own.
	maxUnixPath = 107
	// maxPinHomes bounds the homes of one key: a key that keeps 64 nodes busy is a pool of its own.
	maxPinHomes = 64
)

// flaw says why a node cannot be used, or nothing. Sources canonicalise what they list (package config, Node), so what is
// not in canonical form is a mistake of theirs: two spellings of one address would be two nodes.
func flaw(n *roost.Node, linkLocal bool) string {
	switch {
	case n.ID == "":
		return "it has no name"
	case string(n.ID) != n.Addr && !isName(string(n.ID)):
		return fmt.Sprintf("a name has 1 to %d characters: letters and digits, and - _ . behind the first", maxName)
	case n.Zone != "" && !isName(n.Zone):
		return fmt.Sprintf("zone %s is not a name, of 1 to %d letters and digits, and - _ . behind the first", quoted(n.Zone), maxName)
	case n.Weight < 1 || n.Weight > roost.MaxWeight:
		return fmt.Sprintf("it weighs %d thousandths; it can be 1 to %d", n.Weight, roost.MaxWeight)
	}
	if why := addressFlaw(n.Addr, linkLocal); why != "" {
		return fmt.Sprintf("address %s %s", quoted(n.Addr), why)
	}
	return ""
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

func addressFlaw(addr string, linkLocal bool) string {
	if name, ok := strings.CutPrefix(addr, "unix:"); ok {
		control := strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
		if !strings.HasPrefix(name, "/") || len(name) > maxUnixPath || control || path.Clean(name) != name {
			return fmt.Sprintf("is not the absolute path of a unix socket, of at most %d bytes", maxUnixPath)
		}
		return ""
	}
	i := strings.LastIndexByte(addr, ':')
	host, port := addr[:max(i, 0)], addr[i+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return "does not end with a port, as in 10.0.0.11:8080"
	}
	inner, bracketed := strings.CutPrefix(host, "[")
	inner = strings.TrimSuffix(inner, "]")
	ip, err := netip.ParseAddr(inner)
	switch {
	case err != nil && !isHost(host):
		return "is neither a host and a port nor unix:/path"
	case err != nil:
		return "" // a name: who dials it looks at what it resolves to
	case bracketed != ip.Is6() || ip.Is4In6() || ip.String() != inner || bracketed && host != "["+inner+"]":
		return "is not in its shortest form"
	case ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is not that of one machine"
	case roost.Forbidden(ip) && !linkLocal:
		return "is a link-local or metadata address, where machines keep credentials"
	}
	return ""
}

// isHost tells a name that can be looked up, in lower case.
func isHost(s string) bool {
	odd := func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	}
	return s != "" && len(s) <= maxHost && !strings.ContainsFunc(s, odd)
}

// pinFlaw says why a pin cannot be used whoever is listed, or nothing.
func pinFlaw(p *roost.PinIntent) string {
	switch {
	case p.Key == "" || len(p.Key) > roost.MaxKey:
		return fmt.Sprintf("a key has 1 to %d bytes, this has %d", roost.MaxKey, len(p.Key))
	case !utf8.ValidString(p.Key):
		return "its key is not text in UTF-8, so it could neither be stored nor shown"
	case len(p.Nodes) > 0 && p.Homes > 0:
		return "it has both nodes and a number of homes; give one"
	case len(p.Nodes) == 0 && p.Homes == 0:
		return "it has neither nodes nor a number of homes; give one"
	case len(p.Nodes) > maxPinHomes || p.Homes > maxPinHomes:
		return fmt.Sprintf("it asks for more than %d homes", maxPinHomes)
	}
	for i, id := range p.Nodes {
		if slices.Contains(p.Nodes[:i], id) {
			return fmt.Sprintf("it names node %s twice", quoted(string(id)))
		}
	}
	return ""
}

// maxQuoted bounds what of a text from elsewhere is repeated to people.
const maxQuoted = 80

func quoted(s string) string {
	if len(s) <= maxQuoted {
		return strconv.Quote(s)
	}
	return strconv.Quote(strings.ToValidUTF8(s[:maxQuoted], "")) + "..."
}

// who lists a node: the strongest source.
func who(n *roost.Node) string {
	if len(n.Sources) == 0 {
		return "the configuration"
	}
	switch kind := n.Sources[0].Kind; kind {
	case "api":
		return "the API"
	case "file":
		return "the configuration"
	case "flag":
		return "the command line"
	case "lb_nodes":
		return "the table lb_nodes"
	case "agent":
		return "its agent"
	case "dns":
		return "DNS"
	default:
		return kind
	}
}
