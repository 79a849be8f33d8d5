// Package pkitest makes authorities, certificates and OCSP responses for tests, of the real kind: no two are alike, and
// every client takes them whose test trusts their authority.
package pkitest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	Cert *x509.Certificate
	PEM  []byte
	key  *ecdsa.PrivateKey
}

// Leaf is a certificate and its key.
type Leaf struct {
	Cert         *x509.Certificate
	PEM, KeyPEM  []byte
	Pair         tls.Certificate
	authorityKey *ecdsa.PrivateKey
}

// New makes an authority of its own root.
func New(t testing.TB, name string) *Authority {
	t.Helper()
	key := newKey(t)
	tmpl := template(t, name)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	cert := sign(t, tmpl, tmpl, key, key)
	return &Authority{cert, encode("CERTIFICATE", cert.Raw), key}
}

// Pool trusts the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Cert)
	return p
}

// Issue makes a certificate, for servers and clients, valid from an hour ago for a day. names are DNS names and IP
// addresses; the first is the common name, too. change, if not nil, changes the template.
func (a *Authority) Issue(t testing.TB, change func(*x509.Certificate), names ...string) Leaf {
	t.Helper()
	key := newKey(t)
	tmpl := template(t, append(names, "")[0])
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if change != nil {
		change(tmpl)
	}
	cert := sign(t, tmpl, a.Cert, key, a.key)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	l := Leaf{Cert: cert, PEM: encode("CERTIFICATE", cert.Raw), KeyPEM: encode("PRIVATE KEY", secret), authorityKey: a.key}
	if l.Pair, err = tls.X509KeyPair(l.PEM, l.KeyPEM); err != nil {
		t.Fatal(err)
	}
	return l
}

// What a response says of a certificate.
const (
	Good = iota
	Revoked
	Unknown
)

// Staple makes the authority's response (RFC 6960, 4.2.1) about a certificate of its own.
func (l Leaf) Staple(t testing.TB, says int, from, until time.Time) []byte {
	t.Helper()
	from, until = from.UTC().Truncate(time.Second), until.UTC().Truncate(time.Second)
	issuer := sha1.Sum(l.Cert.RawIssuer)
	status := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: says}
	if says == Revoked {
		status.IsCompound = true
		status.Bytes = must(t)(asn1.MarshalWithParams(from, "generalized"))
	}
	type id struct {
		Hash            pkix.AlgorithmIdentifier
		IssuerName, Key []byte
		Serial          *big.Int
	}
	type single struct {
		ID     id
		Status asn1.RawValue
		From   time.Time `asn1:"generalized"`
		Until  time.Time `asn1:"generalized,explicit,tag:0"`
	}
	sha1OID := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, Parameters: asn1.NullRawValue}
	data := must(t)(asn1.Marshal(struct {
		Responder asn1.RawValue
		Produced  time.Time `asn1:"generalized"`
		Singles   []single
	}{
		asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, IsCompound: true, Bytes: must(t)(asn1.Marshal(issuer[:]))},
		from, []single{{id{sha1OID, issuer[:], issuer[:], l.Cert.SerialNumber}, status, from, until}},
	}))
	digest := sha256.Sum256(data)
	signature, err := ecdsa.SignASN1(rand.Reader, l.authorityKey, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	basic := must(t)(asn1.Marshal(struct {
		Data      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: data}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
		asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}}))
	type body struct {
		Type     asn1.ObjectIdentifier
		Response []byte
	}
	return must(t)(asn1.Marshal(struct {
		Status asn1.Enumerated
		Body   body `asn1:"explicit,tag:0"`
	}{0, body{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}, basic}}))
}

func must(t testing.TB) func([]byte, error) []byte {
	return func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func template(t testing.TB, name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 62))
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, tmpl, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
