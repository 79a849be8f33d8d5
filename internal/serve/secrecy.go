package serve

import (
	"crypto/tls"
	"slices"
	"sync/atomic"

	"roost"
	"roost/internal/listen"
)

// secrecy is the TLS of an open socket. A reload may turn it on and off and change all of it, while the socket stays.
type secrecy struct {
	on    atomic.Bool
	shown atomic.Pointer[shown] // the last one also when it is off, for handshakes that began before
	// outer lives as long as the socket, and the ticket keys in it, where no files hold them: sessions resume over reloads.
	outer *tls.Config
}

// shown is what handshakes show under one configuration.
type shown struct {
	want   roost.TLS
	speaks []string // protocols, as in ALPN
	certs  *listen.Certs
	conf   *tls.Config
	forget func() // ends following the files of certs
}

func newSecrecy() *secrecy {
	s := &secrecy{}
	s.outer = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return s.shown.Load().conf.GetConfigForClient(hello)
	}}
	return s
}

// conf is what a new connection is to speak; nil is clear text.
func (s *secrecy) conf() *tls.Config {
	if !s.on.Load() {
		return nil
	}
	return s.outer
}

// now is what is shown now; nil is clear text.
func (s *secrecy) now() *shown {
	if !s.on.Load() {
		return nil
	}
	return s.shown.Load()
}

// next makes what is to be shown when want is configured, and changes nothing yet. Files that are shown already are not read
// again; they follow changes by themselves.
func (s *secrecy) next(want *roost.TLS, speaks []string, o listen.CertOptions) (*shown, error) {
	if want == nil {
		return nil, nil
	}
	n := &shown{want: *want, speaks: speaks}
	if now := s.now(); now != nil && sameFiles(&now.want, want) {
		if now.want.MinVersion == want.MinVersion && now.want.ClientAuth == want.ClientAuth && slices.Equal(now.speaks, speaks) {
			return now, nil
		}
		n.certs, n.forget = now.certs, now.forget
	} else {
		var err error
		if n.certs, err = listen.OpenCerts(want, o); err != nil {
			return nil, err
		}
	}
	n.conf = n.certs.TLS(want.MinVersion, want.ClientAuth, speaks)
	return n, nil
}

// spoken are the protocols that a listener's clients may choose from by ALPN. Of raw connections nobody knows what they are
// to speak.
func spoken(set *roost.ListenerSettings) []string {
	switch {
	case set.Protocol == roost.ServesTCP:
		return nil
	case set.HTTP2:
		return []string{"h2", "http/1.1"}
	}
	return []string{"http/1.1"}
}

func sameFiles(a, b *roost.TLS) bool {
	return slices.Equal(a.Certificates, b.Certificates) && slices.Equal(a.ClientCA, b.ClientCA) && slices.Equal(a.TicketKeys, b.TicketKeys)
}

// use shows n, made by next, from now on. follow follows certificates until forget.
func (s *secrecy) use(n *shown, follow func(*listen.Certs) (forget func())) {
	before := s.now()
	if n != nil {
		if before == nil || before.certs != n.certs {
			n.forget = follow(n.certs)
		}
		s.shown.Store(n)
	}
	s.on.Store(n != nil)
	if before != nil && (n == nil || n.certs != before.certs) {
		before.forget()
	}
}

// end ends following the files, when the socket closes. What is shown stays, for connections that it still gave.
func (s *secrecy) end() {
	if n := s.now(); n != nil {
		n.forget()
	}
}
