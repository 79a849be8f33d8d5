package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// host is what requests ask for, and what the certificate is for.
const host = "lb.example.test"

// certificate is what all contestants show: one key on P-256, signed by itself.
type certificate struct {
	cert, key, both string // paths of PEM files
	roots           *x509.CertPool
}

func makeCertificate(dir string) (certificate, error) {
	c := certificate{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), both: filepath.Join(dir, "both.pem"),
		roots: x509.NewCertPool()}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, fmt.Errorf("make a key: %w", err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return c, fmt.Errorf("make a certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return c, fmt.Errorf("encode a key: %w", err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	c.roots.AppendCertsFromPEM(certPEM)
	for path, text := range map[string][]byte{c.cert: certPEM, c.key: keyPEM, c.both: append(certPEM[:len(certPEM):len(certPEM)], keyPEM...)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return c, fmt.Errorf("write the certificate: %w", err)
		}
	}
	return c, nil
}

// clientTLS is how the bench speaks TLS: 1.3 alone, one key exchange that all contestants know, and no resumption. Without
// roots it believes any certificate: what checking it costs is none of the proxy's.
func clientTLS(roots *x509.CertPool) *tls.Config {
	return &tls.Config{ServerName: host, RootCAs: roots, InsecureSkipVerify: roots == nil, MinVersion: tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519}, DynamicRecordSizingDisabled: true}
}
