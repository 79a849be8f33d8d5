package listen

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"roost"
)

var serials atomic.Int64

// material makes a self-signed certificate and its key, both PEM. The serial number tells it from all others.
func material(t *testing.T, key crypto.Signer, notAfter time.Time, names ...string) (cert, keyPEM []byte, serial int64) {
	t.Helper()
	serial = serials.Add(1)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: "the common name"},
		NotBefore:    notAfter.Add(-48 * time.Hour),
		NotAfter:     notAfter,
		DNSNames:     names,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), serial
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes a fresh certificate into dir, over one that stands there.
func issue(t *testing.T, dir string, names ...string) (roost.CertFile, int64) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := roost.CertFile{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	cert, key, serial := material(t, newKey(t), time.Now().Add(24*time.Hour), names...)
	write(t, file.Cert, cert)
	write(t, file.Key, key)
	return file, serial
}

// journal is a log whose lines a test waits for.
type journal struct {
	t     *testing.T
	lines chan string
}

func newJournal(t *testing.T) *journal { return &journal{t: t, lines: make(chan string, 1000)} }

func (j *journal) Write(p []byte) (int, error) {
	j.lines <- string(p)
	return len(p), nil
}

func (j *journal) log() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// wait returns the next line that holds text.
func (j *journal) wait(text string) string {
	j.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case line := <-j.lines:
			if strings.Contains(line, text) {
				return line
			}
		case <-limit:
			j.t.Fatalf("no log line with %q", text)
		}
	}
}

func openCerts(t *testing.T, j *journal, files ...roost.CertFile) *Certs {
	t.Helper()
	c, err := OpenCerts(&roost.TLS{Certificates: files}, CertOptions{Log: j.log()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs c until the test ends.
func run(t *testing.T, c *Certs) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// serve answers handshakes over loopback with "ok" until the test ends.
func serve(t *testing.T, config *tls.Config) (address string) {
	t.Helper()
	ln, err := Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(tls.Server(conn, config), "ok") // a failed handshake is the client's to tell
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// shake makes one handshake and reads the answer, so that session tickets arrive.
func shake(address string, config *tls.Config) (tls.ConnectionState, error) {
	config = config.Clone()
	config.InsecureSkipVerify = true // the tests look at what is shown, not at whether to trust it
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
		return tls.ConnectionState{}, err
	}
	return conn.ConnectionState(), nil
}

// shown is the serial number of the certificate that a client sees who asks for name.
func shown(t *testing.T, address, name string) int64 {
	t.Helper()
	state, err := shake(address, &tls.Config{ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	return state.PeerCertificates[0].SerialNumber.Int64()
}

func TestACertificateIsChosenBySNI(t *testing.T) {
	dir := t.TempDir()
	first, firstSerial := issue(t, filepath.Join(dir, "1"), "default.example")
	exact, exactSerial := issue(t, filepath.Join(dir, "2"), "a.example.com", "Upper.Example.COM")
	wild, wildSerial := issue(t, filepath.Join(dir, "3"), "*.example.com")
	address := serve(t, openCerts(t, newJournal(t), first, exact, wild).TLS(0, roost.ClientAuthOff, nil))
	for name, want := range map[string]int64{
		"default.example":   firstSerial,
		"a.example.com":     exactSerial,
		"A.EXAMPLE.com":     exactSerial,
		"upper.example.com": exactSerial,
		"b.example.com":     wildSerial,
		"c.b.example.com":   firstSerial, // a wildcard covers one label
		"example.com":       firstSerial,
		"unknown.example":   firstSerial,
		"":                  firstSerial,
	} {
		if got := shown(t, address, name); got != want {
			t.Errorf("%q: certificate %d, want %d", name, got, want)
		}
	}
}

func TestOfTwoCertificatesForANameTheOneThatTheClientCanUseIsShown(t *testing.T) {
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec, ecSerial := issue(t, filepath.Join(dir, "ec"), "a.example")
	cert, keyPEM, rsaSerial := material(t, key, time.Now().Add(time.Hour), "a.example")
	rsaFile := roost.CertFile{Cert: filepath.Join(dir, "rsa.crt"), Key: filepath.Join(dir, "rsa.key")}
	write(t, rsaFile.Cert, cert)
	write(t, rsaFile.Key, keyPEM)
	address := serve(t, openCerts(t, newJournal(t), ec, rsaFile).TLS(0, roost.ClientAuthOff, nil))
	if got := shown(t, address, "a.example"); got != ecSerial {
		t.Errorf("a client that can use both sees %d, want the first, %d", got, ecSerial)
	}
	for _, name := range []string{"a.example", "unknown.example"} {
		state, err := shake(address, &tls.Config{ServerName: name, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}})
		if err != nil {
			t.Fatal(err)
		}
		if got := state.PeerCertificates[0].SerialNumber.Int64(); got != rsaSerial {
			t.Errorf("a client that can only use RSA and asks for %s sees %d, want %d", name, got, rsaSerial)
		}
	}
}

func TestProtocolsAndVersionsAreNegotiated(t *testing.T) {
	file, _ := issue(t, t.TempDir(), "a.example")
	c := openCerts(t, newJournal(t), file)
	for _, x := range []struct {
		speaks, offer []string
		want          string
	}{
		{[]string{"h2", "http/1.1"}, []string{"h2", "http/1.1"}, "h2"},
		{[]string{"h2", "http/1.1"}, []string{"http/1.1"}, "http/1.1"},
		{[]string{"h2", "http/1.1"}, nil, ""},
		{[]string{"http/1.1"}, []string{"h2", "http/1.1"}, "http/1.1"},
		{nil, []string{"mqtt"}, ""},
	} {
		state, err := shake(serve(t, c.TLS(0, roost.ClientAuthOff, x.speaks)), &tls.Config{NextProtos: x.offer})
		if err != nil {
			t.Fatal(err)
		}
		if state.NegotiatedProtocol != x.want {
			t.Errorf("%v, offered %v: %q, want %q", x.speaks, x.offer, state.NegotiatedProtocol, x.want)
		}
	}
	old := &tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11}
	if _, err := shake(serve(t, c.TLS(0, roost.ClientAuthOff, nil)), old); err == nil {
		t.Error("TLS 1.1 was accepted without being asked for")
	}
	if _, err := shake(serve(t, c.TLS(tls.VersionTLS13, roost.ClientAuthOff, nil)), &tls.Config{MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 was accepted below a minimum of 1.3")
	}
}

func TestErrorsNameTheFileAndTheReason(t *testing.T) {
	dir := t.TempDir()
	good, _ := issue(t, filepath.Join(dir, "a"), "a.example")
	other, _ := issue(t, filepath.Join(dir, "b"), "b.example")
	text, big := filepath.Join(dir, "text"), filepath.Join(dir, "big")
	write(t, text, []byte("hello"))
	write(t, big, make([]byte, maxFile+1))
	missing := filepath.Join(dir, "missing")
	for _, x := range []struct {
		file roost.CertFile
		want []string
	}{
		{roost.CertFile{Cert: missing, Key: good.Key}, []string{"certificate " + missing + ": no such file"}},
		{roost.CertFile{Cert: good.Cert, Key: missing}, []string{"key " + missing + ": no such file"}},
		{roost.CertFile{Cert: text, Key: good.Key}, []string{text, "failed to find any PEM data in certificate"}},
		{roost.CertFile{Cert: good.Cert, Key: text}, []string{text, "failed to find any PEM data in key"}},
		{roost.CertFile{Cert: good.Cert, Key: good.Cert}, []string{good.Cert, "found a certificate rather than a key"}},
		{roost.CertFile{Cert: good.Cert, Key: other.Key}, []string{good.Cert, other.Key, "private key does not match"}},
		{roost.CertFile{Cert: dir, Key: good.Key}, []string{"certificate " + dir + ": not a regular file"}},
		{roost.CertFile{Cert: big, Key: good.Key}, []string{big, "has 1048577 bytes"}},
	} {
		_, err := OpenCerts(&roost.TLS{Certificates: []roost.CertFile{good, x.file}}, CertOptions{Log: newJournal(t).log()})
		for _, want := range x.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
		}
	}
	if _, err := OpenCerts(&roost.TLS{}, CertOptions{Log: newJournal(t).log()}); err == nil {
		t.Error("no certificate at all was accepted")
	}
}

func TestAnExpiredCertificateIsServedWithAWarning(t *testing.T) {
	dir := t.TempDir()
	notAfter := time.Now().Add(-time.Hour).Truncate(time.Second)
	cert, key, serial := material(t, newKey(t), notAfter)
	file := roost.CertFile{Cert: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k")}
	write(t, file.Cert, cert)
	write(t, file.Key, key)
	j := newJournal(t)
	c := openCerts(t, j, file)
	if line := j.wait("certificate has expired"); !strings.Contains(line, file.Cert) {
		t.Errorf("the warning does not name the file: %s", line)
	}
	if got := shown(t, serve(t, c.TLS(0, roost.ClientAuthOff, nil)), ""); got != serial {
		t.Errorf("certificate %d, want %d", got, serial)
	}
	status := c.Status()
	if len(status) != 1 || !status[0].NotAfter.Equal(notAfter) || status[0].File != file.Cert ||
		!slices.Equal(status[0].Names, []string{"the common name"}) {
		t.Errorf("status is %+v", status)
	}
}

func TestReplacedCertificatesServeTheNextHandshake(t *testing.T) {
	dir := t.TempDir()
	one, _ := issue(t, filepath.Join(dir, "1"), "a.example")
	two, second := issue(t, filepath.Join(dir, "2"), "a.example")
	c := openCerts(t, newJournal(t), one)
	address := serve(t, c.TLS(0, roost.ClientAuthOff, nil))
	if err := c.Replace(&roost.TLS{Certificates: []roost.CertFile{two}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Replace(&roost.TLS{Certificates: []roost.CertFile{one, {Cert: filepath.Join(dir, "none"), Key: one.Key}}}); err == nil {
		t.Error("a missing certificate was accepted")
	}
	if got := shown(t, address, "a.example"); got != second {
		t.Errorf("certificate %d, want %d", got, second)
	}
}
