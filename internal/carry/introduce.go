package carry

import (
	"net/netip"
	"strings"

	"roost"
	"roost/internal/proxyproto"
)

// Opening is what is known of a connection by its first bytes.
type Opening uint8

const (
	Ready Opening = iota
	Peek          // too little: ask again with all of the bytes and more behind them, within HeadTimeout
	Shut          // it is refused; a Reply says why
)

// MaxIntroduction is how many bytes Introduce asks for at most.
const MaxIntroduction = proxyproto.MaxHeader

// Introduce takes the PROXY header that the bytes of a connection begin with, where its listener wants one: p becomes what
// it says, and n is how many bytes it takes. Only networks that the listener trusts may introduce others. final says that
// no more bytes will come. A connection without bytes is asked for more, but one that may not speak is refused at once.
func (p *Peer) Introduce(set *roost.ListenerSettings, text string, final bool) (n int, o Opening, r Reply) {
	if !set.ProxyProtocol {
		return 0, Ready, Reply{}
	}
	if p.Addr.IsValid() && !trusts(set, p.Addr) { // who reaches a unix socket was let in by its permissions
		return 0, Shut, Reply{403, "proxy_untrusted", "a PROXY header is not taken from this network"}
	}
	var h proxyproto.Header
	whole, err := proxyproto.Parse(text, &h)
	switch {
	case err == proxyproto.ErrChecksum:
		return 0, Shut, Reply{400, "proxy_invalid", "the checksum of the PROXY header is wrong"}
	case err != nil:
		return 0, Shut, Reply{400, "proxy_invalid", "the connection does not begin with a PROXY header that can be read"}
	case !whole && final:
		return 0, Shut, Reply{400, "proxy_invalid", "the connection ended inside its PROXY header"}
	case !whole:
		return 0, Peek, Reply{}
	case h.Local:
		return h.Size, Ready, Reply{} // the proxy itself, as a health check
	}
	if h.Src.IsValid() { // else the sender does not know, and the socket's addresses stand (proxy-protocol.txt, 2.1 and 2.2)
		p.Addr, p.Port, p.To = h.Src.Addr(), h.Src.Port(), h.Dst
	}
	p.TLVs = strings.Clone(string(h.TLVs)) // it outlives the bytes it was read from
	return h.Size, Ready, Reply{}
}

func trusts(set *roost.ListenerSettings, a netip.Addr) bool {
	for _, p := range set.Trust {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
