package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// ca signs the certificates of one test.
type ca struct {
	dir, file string // file is its own certificate, PEM
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

// pair is a certificate and its key, as files.
type pair struct{ cert, key string }

func newCA(t testing.TB) *ca {
	t.Helper()
	a := &ca{dir: t.TempDir(), key: newKey(t)}
	a.file = filepath.Join(a.dir, "ca.pem")
	tmpl := template(1, "roost e2e authority")
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// issue writes a certificate for names, the first of which names the files. What was there is replaced, as certificate
// tools do it: each file by a rename.
func (a *ca) issue(t testing.TB, serial int64, names ...string) pair {
	t.Helper()
	key := newKey(t)
	tmpl := template(serial, names[0])
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{filepath.Join(a.dir, names[0]+".pem"), filepath.Join(a.dir, names[0]+".key")}
	writePEM(t, p.key, "PRIVATE KEY", secret)
	writePEM(t, p.cert, "CERTIFICATE", der)
	return p
}

// trust is what a client needs to believe this authority.
func (a *ca) trust() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool}
}

func template(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// serialOf shakes hands with addr as a client that asks for name and returns the serial number of what it is shown.
func serialOf(addr, name string, conf *tls.Config) (string, error) {
	conf.ServerName = name
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, conf)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}
