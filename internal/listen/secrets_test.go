package listen

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roost"
	"roost/internal/pki/pkitest"
)

// house is the files of one listener's TLS.
type house struct {
	dir string
	tls roost.TLS
	ca  *pkitest.Authority
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{dir: t.TempDir(), ca: pkitest.New(t, "ca")}
	h.tls.Certificates = []roost.CertFile{{Cert: h.file("crt"), Key: h.file("key")}}
	h.issue(t)
	return h
}

func (h *house) file(name string) string { return filepath.Join(h.dir, name) }

func (h *house) issue(t *testing.T) pkitest.Leaf {
	t.Helper()
	leaf := h.ca.Issue(t, nil, "a.example")
	write(t, h.file("crt"), leaf.PEM)
	write(t, h.file("key"), leaf.KeyPEM)
	return leaf
}

func (h *house) open(t *testing.T, j *journal) *Certs {
	t.Helper()
	c, err := OpenCerts(&h.tls, CertOptions{Log: j.log()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func versions() map[string]uint16 {
	return map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}
}

func TestClientsAreAskedAndVerifiedAsConfigured(t *testing.T) {
	h := newHouse(t)
	write(t, h.file("clients"), h.ca.PEM)
	h.tls.ClientCA = []string{h.file("clients")}
	c := h.open(t, newJournal(t))
	good, bad := h.ca.Issue(t, nil, "client"), pkitest.New(t, "another").Issue(t, nil, "client")
	server := h.ca.Issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, "client")
	for auth, takes := range map[roost.ClientAuth]string{roost.ClientAuthOff: "none good bad server", roost.ClientAuthOptional: "none good", roost.ClientAuthRequired: "good"} {
		address := serve(t, c.TLS(0, auth, nil))
		for version, max := range versions() {
			for name, show := range map[string]*pkitest.Leaf{"none": nil, "good": &good, "bad": &bad, "server": &server} {
				conf := &tls.Config{MaxVersion: max}
				if show != nil { // shown whatever the listener says that it trusts
					conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &show.Pair, nil }
				}
				if _, err := shake(address, conf); (err == nil) != strings.Contains(takes, name) {
					t.Errorf("%v, %d, %s: %v", version, auth, name, err)
				}
			}
		}
	}
}

func TestAClientWhoseAuthorityIsGoneIsRefusedWithItsOldSessionToo(t *testing.T) {
	for name, version := range versions() {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			clients, others := pkitest.New(t, "clients"), pkitest.New(t, "others")
			write(t, h.file("clients"), append(append([]byte{}, clients.PEM...), others.PEM...))
			h.tls.ClientCA = []string{h.file("clients")}
			j := newJournal(t)
			c := h.open(t, j)
			run(t, c)
			address := serve(t, c.TLS(0, roost.ClientAuthRequired, nil))
			with := func(a *pkitest.Authority) *tls.Config {
				return &tls.Config{ServerName: "a.example", MaxVersion: version, Certificates: []tls.Certificate{a.Issue(t, nil, "client").Pair},
					ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			}
			gone, stays := with(clients), with(others)
			for _, conf := range []*tls.Config{gone, stays} {
				for i := range 2 {
					if state, err := shake(address, conf); err != nil || state.DidResume != (i == 1) {
						t.Fatalf("handshake %d: resumed %v, %v", i, state.DidResume, err)
					}
				}
			}
			write(t, h.file("clients"), others.PEM)
			j.wait("authorities of clients reloaded")
			if state, err := shake(address, gone); err == nil {
				t.Errorf("its authority is gone, and it was served (resumed %v)", state.DidResume)
			}
			if state, err := shake(address, stays); err != nil || !state.DidResume {
				t.Errorf("the other one resumed %v, %v", state.DidResume, err)
			}
			write(t, h.file("clients"), []byte("nothing"))
			j.wait("changed file cannot be used")
			if _, err := shake(address, stays); err != nil {
				t.Errorf("after a file that is none: %v", err)
			}
		})
	}
}

func TestBalancersThatShareTicketKeysResumeEachOthersSessionsWhileKeysAreChanged(t *testing.T) {
	for name, version := range versions() {
		t.Run(name, func(t *testing.T) {
			key := func(c string) []byte { return []byte(strings.Repeat(c+"123456789", 8)) }
			here, there := newHouse(t), newHouse(t)
			there.ca = here.ca
			there.issue(t)
			j := newJournal(t)
			for _, h := range []*house{here, there} {
				write(t, h.file("1"), key("a"))
				write(t, h.file("2"), key("b"))
				h.tls.TicketKeys = []string{h.file("1"), h.file("2")}
			}
			addresses := []string{}
			for _, h := range []*house{here, there} {
				c := h.open(t, j)
				run(t, c)
				addresses = append(addresses, serve(t, c.TLS(0, roost.ClientAuthOff, nil)))
			}
			client := &tls.Config{ServerName: "a.example", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			at := func(i int, resumed bool) {
				t.Helper()
				if state, err := shake(addresses[i], client); err != nil || state.DidResume != resumed {
					t.Fatalf("resumed %v, %v; want %v", state.DidResume, err, resumed)
				}
			}
			change := func(h *house, first, second string) {
				write(t, h.file("1"), key(first))
				write(t, h.file("2"), key(second))
				j.wait("ticket keys reloaded")
			}
			at(0, false)
			at(1, true)
			change(here, "b", "a") // encrypts with what the other one can decrypt
			at(0, true)
			at(1, true)
			change(here, "c", "d") // a key that the other one does not know
			at(0, false)
			at(1, false)
		})
	}
}

func TestTheStapleIsShownWhileItIsGoodAndLeftOutElse(t *testing.T) {
	h := newHouse(t)
	h.tls.Certificates[0].OCSP = h.file("ocsp")
	now := time.Now()
	leaf := h.issue(t)
	good := leaf.Staple(t, pkitest.Good, now.Add(-time.Hour), now.Add(time.Hour))
	write(t, h.file("ocsp"), good)
	j := newJournal(t)
	c := h.open(t, j)
	run(t, c)
	address := serve(t, c.TLS(0, roost.ClientAuthOff, nil))
	shows := func(want []byte) {
		t.Helper()
		state, err := shake(address, &tls.Config{ServerName: "a.example"})
		if err != nil || string(state.OCSPResponse) != string(want) {
			t.Errorf("%d bytes, %v; want %d", len(state.OCSPResponse), err, len(want))
		}
	}
	told := func(text string) {
		t.Helper()
		j.wait(text)
		c.reload() // it is told in the middle of a reload, and the next one comes after that
	}
	shows(good)
	write(t, h.file("ocsp"), leaf.Staple(t, pkitest.Good, now.Add(-2*time.Hour), now.Add(-time.Hour)))
	told("it ended on")
	shows(nil)
	write(t, h.file("ocsp"), leaf.Staple(t, pkitest.Revoked, now.Add(-time.Hour), now.Add(time.Hour)))
	told("revoked the certificate")
	shows(nil)
	write(t, h.file("ocsp"), good)
	c.reload() // nothing is said of what is as it should be
	shows(good)
	renewed := h.issue(t) // whose response comes later
	told("it is for another certificate")
	shows(nil)
	fresh := renewed.Staple(t, pkitest.Good, now.Add(-time.Hour), now.Add(time.Hour))
	write(t, h.file("ocsp"), fresh)
	c.reload()
	shows(fresh)
	if err := os.Remove(h.file("ocsp")); err != nil {
		t.Fatal(err)
	}
	told("no such file")
	shows(nil)
}

func TestAStapleThatEndsIsTakenOutInTime(t *testing.T) {
	h := newHouse(t)
	h.tls.Certificates[0].OCSP = h.file("ocsp")
	now := time.Now()
	write(t, h.file("ocsp"), h.issue(t).Staple(t, pkitest.Good, now.Add(-time.Hour), now.Add(time.Hour)))
	j := newJournal(t)
	c := h.open(t, j)
	p := c.pairs[0]
	if p.cert.OCSPStaple == nil || p.staple(now.Add(30*time.Minute), j.log()) {
		t.Error("it is not shown while it is good")
	}
	if !p.staple(now.Add(2*time.Hour), j.log()) || p.cert.OCSPStaple != nil {
		t.Error("it is shown after its end")
	}
	if p.staple(now.Add(2*time.Hour), j.log()) || len(j.lines) != 1 {
		t.Errorf("%d lines, want 1", len(j.lines))
	}
}

func TestFilesBesideCertificatesThatCannotBeUsedAreTold(t *testing.T) {
	h := newHouse(t)
	write(t, h.file("text"), []byte("hello"))
	for want, set := range map[string]func(*roost.TLS){
		"authorities of clients " + h.file("text") + ": it holds no PEM certificate": func(x *roost.TLS) { x.ClientCA = []string{h.file("crt"), h.file("text")} },
		"authorities of clients " + h.file("none") + ": no such file":                func(x *roost.TLS) { x.ClientCA = []string{h.file("none")} },
		"ticket key " + h.file("text") + ": it has 5 bytes":                          func(x *roost.TLS) { x.TicketKeys = []string{h.file("text")} },
	} {
		conf := h.tls
		set(&conf)
		if _, err := OpenCerts(&conf, CertOptions{Log: newJournal(t).log()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// counted is a key that counts how many of it sign at once.
type counted struct {
	crypto.Signer
	now, most *atomic.Int32
	enter     chan struct{} // a signature begins
	leave     chan struct{} // it may end
}

func (c counted) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	c.most.Store(max(c.most.Load(), c.now.Add(1)))
	defer c.now.Add(-1)
	c.enter <- struct{}{}
	<-c.leave
	return c.Signer.Sign(r, digest, opts)
}

// serveAll is serve for handshakes beside each other.
func serveAll(t *testing.T, config *tls.Config) (address string) {
	t.Helper()
	ln, err := Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				io.WriteString(tls.Server(conn, config), "ok")
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

// dial connects, and says nothing until the test ends.
func dial(t *testing.T, address string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
}

func TestSignaturesTakePermitsAndHandshakesThatWaitHoldNone(t *testing.T) {
	h := newHouse(t)
	permits := make(chan struct{}, 2)
	c, err := OpenCerts(&h.tls, CertOptions{Log: newJournal(t).log(), Permits: permits})
	if err != nil {
		t.Fatal(err)
	}
	p := c.pairs[0].cert.PrivateKey.(permitted)
	slow := counted{p.Signer, new(atomic.Int32), new(atomic.Int32), make(chan struct{}), make(chan struct{})}
	c.pairs[0].cert.PrivateKey = permitted{slow, permits}
	address := serveAll(t, c.TLS(0, roost.ClientAuthOff, nil))
	for range 5 { // clients that connect and say nothing
		dial(t, address)
	}
	const clients = 8
	done := make(chan error, clients)
	for range clients {
		go func() {
			_, err := shake(address, &tls.Config{})
			done <- err
		}()
	}
	for range clients {
		<-slow.enter
		slow.leave <- struct{}{}
	}
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if most := slow.most.Load(); most > 2 || len(permits) != 0 {
		t.Errorf("%d signed at once within 2 permits, and %d are still held", most, len(permits))
	}
}

func TestKeysOfEveryKindSignWithinPermits(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"RSA": rsaKey, "Ed25519": edKey, "ECDSA": newKey(t)} {
		dir := t.TempDir()
		file := roost.CertFile{Cert: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k")}
		cert, keyPEM, _ := material(t, key, time.Now().Add(time.Hour), "a.example")
		write(t, file.Cert, cert)
		write(t, file.Key, keyPEM)
		c, err := OpenCerts(&roost.TLS{Certificates: []roost.CertFile{file}}, CertOptions{Log: newJournal(t).log(), Permits: make(chan struct{}, 1)})
		if err != nil {
			t.Fatal(err)
		}
		address := serve(t, c.TLS(0, roost.ClientAuthOff, nil))
		for version, max := range versions() {
			if _, err := shake(address, &tls.Config{MaxVersion: max}); err != nil {
				t.Errorf("%s, %s: %v", name, version, err)
			}
		}
	}
}

func TestWaitingForAPermitAllocatesNothing(t *testing.T) {
	p := permitted{quick{}, make(chan struct{}, 1)}
	if n := testing.AllocsPerRun(100, func() { p.Sign(nil, nil, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// quick signs nothing.
type quick struct{ crypto.Signer }

func (quick) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, nil }
