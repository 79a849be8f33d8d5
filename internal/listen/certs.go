package listen

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"roost"
	"roost/internal/watch"
)

// maxPEM bounds one certificate or key file. The longest real chains have some 20 KiB; more is a wrong file.
const maxPEM = 1 << 20

// Certs are the certificates of one listener, chosen by SNI: exact names first, then wildcards of one label, then the
// first certificate. Of several for one name, such as RSA and ECDSA, the first that the client can use is taken.
type Certs struct {
	current atomic.Pointer[selection]
	log     *slog.Logger

	mu    sync.Mutex // guards pairs; handshakes never take it
	pairs []*pair    // in the order of configuration

	watch *watch.Watcher
}

// datesEvery is how often the certificates' dates are looked at, to warn of one that no client accepts any more.
const datesEvery = time.Minute

// pair is a certificate and its key, as last read.
type pair struct {
	file   roost.CertFile
	sum    [sha256.Size]byte // of both files
	cert   *tls.Certificate
	fault  string // why the files cannot be used now, as logged; "" when they can
	warned bool   // that it is out of its time
}

// selection is what a handshake chooses from. It is immutable.
type selection struct {
	all    []*tls.Certificate
	names  map[string][]*tls.Certificate // lower case; "*.example.com" stands as ".example.com"
	status []roost.CertStatus
}

// OpenCerts reads the certificates; the error names every file that cannot be used, and why. One out of its time is used,
// with a warning, because some answer is better than none. Changes are followed while Run runs.
func OpenCerts(files []roost.CertFile, log *slog.Logger) (*Certs, error) {
	c := &Certs{log: log, watch: watch.New(log)}
	if err := c.Replace(files); err != nil {
		return nil, err
	}
	return c, nil
}

// Replace serves other files from the next handshake on, or, if any of them cannot be used, changes nothing.
func (c *Certs) Replace(files []roost.CertFile) error {
	if len(files) == 0 {
		return errors.New("TLS needs at least one certificate")
	}
	var pairs []*pair
	var faults []error
	for _, f := range files {
		p, err := readPair(f)
		pairs, faults = append(pairs, p), append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pairs = pairs
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
			c.warn()
			c.mu.Unlock()
		}
	}
}

func (c *Certs) files() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var files []string
	for _, p := range c.pairs {
		files = append(files, p.file.Cert, p.file.Key)
	}
	return files
}

// TLS is the configuration of a listener that shows these certificates, now and after every change. A minVersion of 0
// means TLS 1.2, which every client of the last decade speaks; cipher suites are Go's choice. Keep the result for the
// listener's life: sessions resume over reloads because the ticket keys, made and rotated by crypto/tls, live in it.
func (c *Certs) TLS(minVersion uint16, http2 bool) *tls.Config {
	protocols := []string{"h2", "http/1.1"}
	if !http2 {
		protocols = protocols[1:]
	}
	return &tls.Config{
		MinVersion:     cmp.Or(minVersion, tls.VersionTLS12),
		NextProtos:     protocols,
		GetCertificate: c.choose,
	}
}

// Status lists the certificates in use, the default first.
func (c *Certs) Status() []roost.CertStatus { return slices.Clone(c.current.Load().status) }

// choose is the handshake's part. It takes no lock and does no I/O.
func (c *Certs) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := c.current.Load()
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
// once for each reason, and the old certificate stays.
func (c *Certs) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var fresh []*pair
	for i, old := range c.pairs {
		p, err := readPair(old.file)
		if err != nil {
			if old.fault != err.Error() {
				c.log.Error("changed certificate cannot be used; the old one stays", "err", err,
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
	if fresh != nil {
		c.publish()
	}
	for _, p := range fresh {
		c.log.Info("certificate reloaded", "file", p.file.Cert, "names", names(p.cert), "expires", p.cert.Leaf.NotAfter)
	}
	c.warn()
}

// publish makes c.pairs what handshakes choose from.
func (c *Certs) publish() {
	s := &selection{names: map[string][]*tls.Certificate{}}
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
			c.log.Warn("certificate has expired", "file", p.file.Cert, "expired", leaf.NotAfter)
			p.warned = true
		case now.Before(leaf.NotBefore):
			c.log.Warn("certificate is not valid yet", "file", p.file.Cert, "from", leaf.NotBefore)
			p.warned = true
		}
	}
}

func readPair(f roost.CertFile) (*pair, error) {
	chain, err := readPEM(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", f.Cert, err)
	}
	key, err := readPEM(f.Key)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", f.Key, err)
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d\n", len(chain)) // so that no byte can move from one file to the other unseen
	sum.Write(chain)
	sum.Write(key)
	p := &pair{file: f, cert: &cert}
	sum.Sum(p.sum[:0])
	return p, nil
}

func readPEM(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, bare(err)
	case !info.Mode().IsRegular(): // a pipe would block
		return nil, errors.New("not a regular file")
	case info.Size() > maxPEM:
		return nil, fmt.Errorf("has %d bytes; a PEM file has at most %d", info.Size(), maxPEM)
	}
	data, err := os.ReadFile(file)
	return data, bare(err)
}

// bare drops the path from an error whose reader is told it already.
func bare(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// names are those that a certificate is chosen for: its DNS names, or the common name of an old one that has none.
func names(cert *tls.Certificate) []string {
	if leaf := cert.Leaf; len(leaf.DNSNames) > 0 || len(leaf.IPAddresses) > 0 || leaf.Subject.CommonName == "" {
		return append([]string{}, leaf.DNSNames...)
	}
	return []string{cert.Leaf.Subject.CommonName}
}
