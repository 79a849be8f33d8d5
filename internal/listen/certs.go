package listen

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"roost"
	"roost/internal/watch"
)

// Certs are the certificates of one listener, chosen by SNI: exact names first, then wildcards of one label, then the
// first certificate. Of several for one name, such as RSA and ECDSA, the first that the client can use is taken. With them
// go the authorities of its clients, and its ticket keys.
type Certs struct {
	current atomic.Pointer[selection]
	o       CertOptions

	mu          sync.Mutex // guards the three below; handshakes never take it
	pairs       []*pair    // in the order of configuration
	authorities kept[*x509.CertPool]
	tickets     kept[[][32]byte]

	watch *watch.Watcher
}

// CertOptions are what Certs are given beside their files.
type CertOptions struct {
	Log     *slog.Logger
	Permits chan struct{}
	// Permits bound how many private keys sign at once, over all listeners that are given it: each signature holds a place
	// in it. It costs a processor 20 µs to 1 ms, which others beside event loops must not all take at once. Nil: no bound.
}

// datesEvery is how often the certificates' dates are looked at, to warn of one that no client accepts any more.
const datesEvery = time.Minute

// selection is what a handshake chooses from. It is immutable.
type selection struct {
	all         []*tls.Certificate
	names       map[string][]*tls.Certificate // lower case; "*.example.com" stands as ".example.com"
	status      []roost.CertStatus
	authorities *x509.CertPool
	tickets     [][32]byte
}

// OpenCerts reads the files of t; the error names every one that cannot be used, and why. A certificate out of its time is
// used, with a warning, because some answer is better than none; a response that cannot be stapled is left out, with a
// warning too. Changes are followed while Run runs.
func OpenCerts(t *roost.TLS, o CertOptions) (*Certs, error) {
	c := &Certs{o: o, watch: watch.New(o.Log)}
	if err := c.Replace(t); err != nil {
		return nil, err
	}
	return c, nil
}

// Replace serves other files from the next handshake on, or, if any of them cannot be used, changes nothing.
func (c *Certs) Replace(t *roost.TLS) error {
	if len(t.Certificates) == 0 {
		return errors.New("TLS needs at least one certificate")
	}
	var pairs []*pair
	var faults []error
	for _, f := range t.Certificates {
		p, err := readPair(f, c.o.Permits)
		pairs, faults = append(pairs, p), append(faults, err)
	}
	authorities := kept[*x509.CertPool]{what: "authorities of clients", files: t.ClientCA, add: addAuthorities}
	tickets := kept[[][32]byte]{what: "ticket key", files: t.TicketKeys, add: addTicketKey}
	_, err1 := authorities.read()
	_, err2 := tickets.read()
	if err := errors.Join(append(faults, err1, err2)...); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pairs, c.authorities, c.tickets = pairs, authorities, tickets
	c.staple()
	c.publish()
	c.warn()
	c.watch.Look()
	return nil
}

// Run follows changes of the files until ctx ends.
func (c *Certs) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.watch.Run(ctx, c.files, c.reload) })
	tick := time.NewTicker(datesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.mu.Lock()
			if c.staple() {
				c.publish()
			}
			c.warn()
			c.mu.Unlock()
		}
	}
}

func (c *Certs) files() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	files := slices.Concat(c.authorities.files, c.tickets.files)
	for _, p := range c.pairs {
		files = append(files, p.file.Cert, p.file.Key)
		if p.file.OCSP != "" {
			files = append(files, p.file.OCSP)
		}
	}
	return files
}

// TLS is the configuration of a listener that shows these certificates, now and after every change. A minVersion of 0
// means TLS 1.2, which every client of the last decade speaks; cipher suites and curves are Go's choice. Of the protocols
// (ALPN), best first, one is agreed on; without any, whatever the client offers is left to it. Keep the result
// for the listener's life: sessions resume over reloads because the ticket keys, if no files hold them, are made and
// rotated by crypto/tls, and live in it.
func (c *Certs) TLS(minVersion uint16, auth roost.ClientAuth, protocols []string) *tls.Config {
	type inner struct {
		of   *selection
		conf *tls.Config
	}
	var last atomic.Pointer[inner]
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s := c.current.Load()
		in := last.Load()
		if in == nil || in.of != s { // two at once make it twice, alike
			in = &inner{s, s.config(minVersion, auth, protocols)}
			last.Store(in)
		}
		return in.conf, nil
	}}
}

// config is what handshakes go by while nothing changes. A session whose client was signed by an authority that is not in
// it any more is not resumed, and its client is then refused as anybody else's.
func (s *selection) config(minVersion uint16, auth roost.ClientAuth, protocols []string) *tls.Config {
	conf := &tls.Config{
		MinVersion:     cmp.Or(minVersion, tls.VersionTLS12),
		NextProtos:     protocols,
		GetCertificate: s.choose,
		ClientCAs:      s.authorities,
		ClientAuth:     [...]tls.ClientAuthType{tls.NoClientCert, tls.VerifyClientCertIfGiven, tls.RequireAndVerifyClientCert}[auth],
	}
	if len(s.tickets) > 0 {
		conf.SetSessionTicketKeys(s.tickets)
	}
	return conf
}

// Status lists the certificates in use, the default first.
func (c *Certs) Status() []roost.CertStatus { return slices.Clone(c.current.Load().status) }

// choose is the handshake's part. It takes no lock and does no I/O.
func (s *selection) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	fit := s.names[name]
	if dot := strings.IndexByte(name, '.'); fit == nil && dot > 0 {
		fit = s.names[name[dot:]]
	}
	if fit == nil {
		fit = s.all
	}
	if len(fit) > 1 {
		able := *hello
		able.ServerName = "" // the name was decided above; a default certificate need not have it
		for _, cert := range fit {
			if able.SupportsCertificate(cert) == nil {
				return cert, nil
			}
		}
	}
	return fit[0], nil
}

// reload reads every file again. What changed and is good is used from the next handshake on; what is bad is logged,
// once for each reason, and the old one stays.
func (c *Certs) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var fresh []*pair
	for i, old := range c.pairs {
		p, err := readPair(old.file, c.o.Permits)
		if err != nil {
			if old.fault != err.Error() {
				c.o.Log.Error("changed certificate cannot be used; the old one stays", "err", err,
					"expires", old.cert.Leaf.NotAfter)
			}
			old.fault = err.Error()
			continue
		}
		old.fault = ""
		if p.sum != old.sum {
			c.pairs[i] = p
			fresh = append(fresh, p)
		}
	}
	authorities, tickets, staples := c.authorities.reload(c.o.Log), c.tickets.reload(c.o.Log), c.staple()
	if fresh != nil || authorities || tickets || staples {
		c.publish()
	}
	for _, p := range fresh {
		c.o.Log.Info("certificate reloaded", "file", p.file.Cert, "names", names(p.cert), "expires", p.cert.Leaf.NotAfter)
	}
	if authorities {
		c.o.Log.Info("authorities of clients reloaded", "files", c.authorities.files)
	}
	if tickets {
		c.o.Log.Info("ticket keys reloaded", "files", c.tickets.files)
	}
	c.warn()
}

// staple looks what can be stapled now, and tells whether that is something else than before.
func (c *Certs) staple() (changed bool) {
	now := time.Now()
	for _, p := range c.pairs {
		changed = p.staple(now, c.o.Log) || changed
	}
	return changed
}

// publish makes what was read what handshakes choose from.
func (c *Certs) publish() {
	s := &selection{names: map[string][]*tls.Certificate{}, authorities: c.authorities.value, tickets: c.tickets.value}
	for _, p := range c.pairs {
		s.all = append(s.all, p.cert)
		known := names(p.cert)
		for _, name := range known {
			name = strings.TrimPrefix(strings.ToLower(name), "*")
			s.names[name] = append(s.names[name], p.cert)
		}
		s.status = append(s.status, roost.CertStatus{File: p.file.Cert, Names: known, NotAfter: p.cert.Leaf.NotAfter})
	}
	c.current.Store(s)
}

// warn tells once of each certificate that clients will refuse for its dates.
func (c *Certs) warn() {
	now := time.Now()
	for _, p := range c.pairs {
		switch leaf := p.cert.Leaf; {
		case p.warned:
		case now.After(leaf.NotAfter):
			c.o.Log.Warn("certificate has expired", "file", p.file.Cert, "expired", leaf.NotAfter)
			p.warned = true
		case now.Before(leaf.NotBefore):
			c.o.Log.Warn("certificate is not valid yet", "file", p.file.Cert, "from", leaf.NotBefore)
			p.warned = true
		}
	}
}
