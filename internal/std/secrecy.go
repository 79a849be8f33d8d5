package std

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"roost"
	"roost/internal/pki"
)

// secrecy is TLS to nodes. What the nodes of one pool have in common is made once, sessions to resume included, and lives
// for as long as a pool wants it, over reloads. The zero secrecy is ready.
type secrecy struct {
	mu sync.Mutex // guards of; taken on the way to a dial, held while a configuration is made for the first time
	of map[roost.Digest]*tls.Config
}

// maxSessions bounds the sessions kept for the nodes of one pool: one for each is used at a time, a few KiB large.
const maxSessions = 512

// idOf tells connections apart by how they were made.
func idOf(t *roost.NodeTLS) roost.Digest {
	if t == nil {
		return roost.Digest{}
	}
	return t.ID
}

func schemeOf(t *roost.NodeTLS) string {
	if t == nil {
		return "http"
	}
	return "https"
}

// with makes the TLS connection to a node out of c, which it closes when it cannot.
func (s *secrecy) with(ctx context.Context, c net.Conn, to place) (*tls.Conn, error) {
	conf, err := s.conf(to.tls)
	if err != nil {
		c.Close()
		return nil, err
	}
	conf = pki.ForNode(conf, to.addr, to.protocol)
	conf.ClientSessionCache = sessions{conf.ClientSessionCache, to.addr}
	t := tls.Client(c, conf)
	switch err := t.HandshakeContext(ctx); {
	case err != nil && ctx.Err() == context.DeadlineExceeded:
		c.Close()
		return nil, errors.New("TLS with the node: no handshake within the connect timeout")
	case err != nil:
		c.Close()
		return nil, pki.Explain(err)
	case to.protocol == "h2" && t.ConnectionState().NegotiatedProtocol != "h2":
		c.Close()
		return nil, errors.New("TLS with the node: it does not speak HTTP/2")
	}
	return t, nil
}

// alerted tells an error that the other side of a TLS connection sent.
func alerted(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "remote error"
}

func (s *secrecy) conf(t *roost.NodeTLS) (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if conf := s.of[t.ID]; conf != nil {
		return conf, nil
	}
	conf, err := pki.NodeConfig(t)
	if err != nil {
		return nil, err
	}
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(maxSessions)
	if s.of == nil {
		s.of = map[roost.Digest]*tls.Config{}
	}
	s.of[t.ID] = conf
	return conf, nil
}

// keep forgets what none of ways needs any more.
func (s *secrecy) keep(ways []*roost.NodeTLS) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := map[roost.Digest]*tls.Config{}
	for _, t := range ways {
		if t != nil && s.of[t.ID] != nil {
			kept[t.ID] = s.of[t.ID]
		}
	}
	s.of = kept
}

// sessions are those of one node: the others of its pool, though they go by the same name, need not know its tickets.
type sessions struct {
	all  tls.ClientSessionCache
	addr string
}

func (s sessions) Get(name string) (*tls.ClientSessionState, bool) {
	return s.all.Get(s.addr + " " + name)
}

func (s sessions) Put(name string, state *tls.ClientSessionState) { s.all.Put(s.addr+" "+name, state) }
