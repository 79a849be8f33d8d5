package listen

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"time"

	"roost"
	"roost/internal/pki"
)

// pair is a certificate and its key, as last read.
type pair struct {
	file   roost.CertFile
	sum    [sha256.Size]byte // of both files
	cert   *tls.Certificate  // with the staple, while there is a good one
	fault  string            // why the files cannot be used now, as logged; "" when they can
	warned bool              // that it is out of its time
	bare   string            // why it has no staple, as logged
}

func readPair(f roost.CertFile, permits chan struct{}) (*pair, error) {
	chain, err := readSmall(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", f.Cert, err)
	}
	key, err := readSmall(f.Key)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", f.Key, err)
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	if permits != nil {
		cert.PrivateKey = permitted{cert.PrivateKey.(crypto.Signer), permits} // X509KeyPair has no others
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d\n", len(chain)) // so that no byte can move from one file to the other unseen
	sum.Write(chain)
	sum.Write(key)
	p := &pair{file: f, cert: &cert}
	sum.Sum(p.sum[:0])
	return p, nil
}

// permitted is a private key that signs within permits. The handshake around it holds none, since it waits for a client.
type permitted struct {
	crypto.Signer
	permits chan struct{}
}

// Sign waits for a place, without a limit: whoever has one is done with it in a millisecond.
func (p permitted) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	p.permits <- struct{}{}
	defer func() { <-p.permits }()
	return p.Signer.Sign(rand, digest, opts)
}

// staple gives the certificate the response in its file, while that is good, and tells whether this changed it. What is
// wrong with it is logged once.
func (p *pair) staple(now time.Time, log *slog.Logger) (changed bool) {
	if p.file.OCSP == "" {
		return false
	}
	der, err := readSmall(p.file.OCSP)
	var s pki.Staple
	if err == nil {
		s, err = pki.ParseStaple(der, p.cert.Leaf)
	}
	if err == nil {
		err = s.Stale(now)
	}
	why := ""
	if err != nil {
		der, why = nil, err.Error()
	}
	if why != "" && why != p.bare {
		log.Warn("OCSP response cannot be stapled; handshakes do without", "file", p.file.OCSP, "err", why)
	}
	p.bare = why
	if bytes.Equal(p.cert.OCSPStaple, der) {
		return false
	}
	cert := *p.cert // handshakes use the old one
	cert.OCSPStaple = der
	p.cert = &cert
	return true
}

// names are those that a certificate is chosen for: its DNS names, or the common name of an old one that has none.
func names(cert *tls.Certificate) []string {
	if leaf := cert.Leaf; len(leaf.DNSNames) > 0 || len(leaf.IPAddresses) > 0 || leaf.Subject.CommonName == "" {
		return append([]string{}, leaf.DNSNames...)
	}
	return []string{cert.Leaf.Subject.CommonName}
}
