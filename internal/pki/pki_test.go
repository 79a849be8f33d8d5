package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/pki"
	"roost/internal/pki/pkitest"
)

func TestAStapleIsReadForItsOwnCertificateAndItsOwnTime(t *testing.T) {
	ca := pkitest.New(t, "ca")
	leaf, other := ca.Issue(t, nil, "a.example"), ca.Issue(t, nil, "b.example")
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	until := from.AddDate(0, 0, 7)
	good := leaf.Staple(t, pkitest.Good, from, until)
	s, err := pki.ParseStaple(good, leaf.Cert)
	if err != nil || !s.From.Equal(from) || !s.Until.Equal(until) {
		t.Fatalf("%+v, %v", s, err)
	}
	for at, want := range map[time.Time]string{from.Add(-time.Second): "begins on 2026-11-01", from: "", until: "", until.Add(time.Second): "ended on 2026-11-08"} {
		if err := s.Stale(at); err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("at %v: %v, want %q", at, err, want)
		}
	}
	for want, of := range map[string]struct {
		der  []byte
		leaf *x509.Certificate
	}{
		"for another certificate":       {good, other.Cert},
		"revoked the certificate on":    {leaf.Staple(t, pkitest.Revoked, from, until), leaf.Cert},
		"does not know the certificate": {leaf.Staple(t, pkitest.Unknown, from, until), leaf.Cert},
		"not an OCSP response":          {append(good[:len(good):len(good)], 0), leaf.Cert},
		"has 16385 bytes":               {make([]byte, pki.MaxStaple+1), leaf.Cert},
		"OCSP status 3":                 {[]byte{0x30, 3, 0x0a, 1, 3}, leaf.Cert}, // try later
		"not a basic OCSP":              {[]byte{0x30, 3, 0x0a, 1, 0}, leaf.Cert},
	} {
		if _, err := pki.ParseStaple(of.der, of.leaf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestTicketKeysAreThoseOfNginx(t *testing.T) {
	seen := map[[32]byte]bool{}
	for _, n := range []int{48, 80} {
		file := []byte(strings.Repeat("0123456789abcdef", 5)[:n])
		key, err := pki.TicketKey(file)
		if err != nil || seen[key] {
			t.Errorf("%d bytes: %x, %v", n, key, err)
		}
		seen[key] = true
	}
	for want, file := range map[string]string{"it has 0 bytes": "", "it has 79 bytes": strings.Repeat("x", 78) + "y", "not random": strings.Repeat("\x00", 80)} {
		if _, err := pki.TicketKey([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestSPIFFEIDsAreReadToTheLetter(t *testing.T) {
	for uri, want := range map[string]string{
		"spiffe://example.org/ns/prod/sa/Web_1.a-b":   "example.org/ns/prod/sa/Web_1.a-b",
		"SPIFFE://a_b-1.c/x":                          "a_b-1.c/x",
		"spiffe://example.org":                        "",
		"spiffe://example.org/":                       "",
		"spiffe:///x":                                 "",
		"spiffe://Example.org/x":                      "",
		"spiffe://example.org:1/x":                    "",
		"spiffe://u@example.org/x":                    "",
		"spiffe://example.org/x/":                     "",
		"spiffe://example.org//x":                     "",
		"spiffe://example.org/./x":                    "",
		"spiffe://example.org/../x":                   "",
		"spiffe://example.org/.../x":                  "example.org/.../x",
		"spiffe://example.org/%61":                    "",
		"spiffe://example.org/x?y":                    "",
		"spiffe://example.org/x#y":                    "",
		"spiffe://exämple.org/x":                      "",
		"https://example.org/x":                       "",
		"spiffe:/":                                    "",
		"":                                            "",
		"spiffe://" + strings.Repeat("a", 255) + "/x": strings.Repeat("a", 255) + "/x",
		"spiffe://" + strings.Repeat("a", 256) + "/x": "",
		"spiffe://a/" + strings.Repeat("b", 2048-len("spiffe://a/")): "a/" + strings.Repeat("b", 2048-len("spiffe://a/")),
		"spiffe://a/" + strings.Repeat("b", 2049-len("spiffe://a/")): "",
	} {
		if id, ok := pki.SPIFFE(uri); id != want && (ok || want != "") || ok != (want != "") {
			t.Errorf("%.80s: %.80q, %v", uri, id, ok)
		}
	}
}

func TestNamesAreThoseOfAVerifiedCertificateOnly(t *testing.T) {
	leaf := pkitest.New(t, "ca").Issue(t, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "device-7", Organization: []string{"acme", "more"}, OrganizationalUnit: []string{"west"}}
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/device/7"}}
		c.EmailAddresses = []string{"seven@example.org"}
	}, "seven.example.org", "10.0.0.7")
	want := &roost.CertNames{CommonName: "device-7", Orgs: []string{"acme", "more"}, OrgUnits: []string{"west"}, DNS: []string{"seven.example.org"},
		URIs: []string{"spiffe://example.org/device/7"}, Emails: []string{"seven@example.org"}, SPIFFE: "example.org/device/7"}
	if got := pki.Names([][]*x509.Certificate{{leaf.Cert}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := pki.Names(nil); got != nil {
		t.Errorf("of a certificate that nobody verified: %+v", got)
	}
	leaf.Cert.URIs = append(leaf.Cert.URIs, leaf.Cert.URIs[0])
	if got := pki.Names([][]*x509.Certificate{{leaf.Cert}}); got.SPIFFE != "" || len(got.URIs) != 2 {
		t.Errorf("with two URIs it is no SVID: %+v", got)
	}
}

func TestOnlyCertificatesAreAuthorities(t *testing.T) {
	ca := pkitest.New(t, "ca")
	leaf := ca.Issue(t, nil, "a.example")
	if all, err := pki.Certificates(append(append([]byte("a comment\n"), ca.PEM...), leaf.PEM...)); err != nil || len(all) != 2 {
		t.Errorf("%d, %v", len(all), err)
	}
	for want, text := range map[string][]byte{
		"no PEM certificate":               []byte("hello"),
		"PRIVATE KEY is not a certificate": append(append([]byte{}, ca.PEM...), leaf.KeyPEM...),
		"certificate 1: x509":              pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
	} {
		if _, err := pki.Certificates(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// handshake makes one between a node and us, over a pipe.
func handshake(t *testing.T, node *tls.Config, ours *roost.NodeTLS, addr string) (tls.ConnectionState, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		far, err := ln.Accept()
		if err != nil {
			return
		}
		defer far.Close()
		if node == nil {
			far.Read(make([]byte, 10_000))
			far.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			return
		}
		tls.Server(far, node).Handshake()
	}()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { <-done }()
	defer near.Close()
	near.SetDeadline(time.Now().Add(20 * time.Second))
	conf, err := pki.NodeConfig(ours)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(near, pki.ForNode(conf, addr, "http/1.1"))
	err = c.Handshake()
	return c.ConnectionState(), err
}

func TestNodesAreVerifiedByTheNameOfTheirPoolOrTheirOwn(t *testing.T) {
	ca := pkitest.New(t, "the authority")
	old := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().AddDate(0, -2, 0), time.Now().AddDate(0, -1, 0)
	}
	named, byIP := ca.Issue(t, nil, "app.internal"), ca.Issue(t, nil, "10.0.0.1", "2001:db8::1", "localhost")
	trusts := roost.NodeTLS{CA: ca.PEM, MinVersion: tls.VersionTLS12}
	with := func(change func(*roost.NodeTLS)) roost.NodeTLS {
		n := trusts
		change(&n)
		return n
	}
	for _, c := range []struct {
		name string
		node *tls.Config
		ours roost.NodeTLS
		addr string
		want string // of the error; "": none
		sni  string
	}{
		{"by its host", config(named), trusts, "app.internal:443", "", "app.internal"},
		{"by the pool's name", config(named), with(func(n *roost.NodeTLS) { n.ServerName = "app.internal" }), "10.9.9.9:443", "", "app.internal"},
		{"by IPv4", config(byIP), trusts, "10.0.0.1:443", "", ""},
		{"by IPv6", config(byIP), trusts, "[2001:db8::1]:443", "", ""},
		{"by IPv6 with a zone", config(byIP), trusts, "[2001:db8::1%eth0]:443", "", ""},
		{"a socket", config(byIP), trusts, "unix:/run/app.sock", "", "localhost"},
		{"another name", config(named), trusts, "db.internal:443", "its certificate is for app.internal, not for db.internal", "db.internal"},
		{"another address", config(byIP), trusts, "10.0.0.2:443", "its certificate is for localhost, 10.0.0.1, 2001:db8::1, not for 10.0.0.2", ""},
		{"many names", config(ca.Issue(t, nil, "a", "b", "c", "d")), trusts, "x:443", "is for a, b, c, others, not for x", "x"},
		{"no name", config(ca.Issue(t, nil)), trusts, "x:443", `is for "", not for x`, "x"},
		{"expired", config(ca.Issue(t, old, "app.internal")), trusts, "app.internal:443", "the certificate of app.internal is valid only from ", "app.internal"},
		{"unknown", config(pkitest.New(t, "another").Issue(t, nil, "app.internal")), trusts, "app.internal:443", `signed by an unknown authority, "CN=another"`, "app.internal"},
		{"unknown, but nobody looks", config(pkitest.New(t, "another").Issue(t, nil, "x")), roost.NodeTLS{Insecure: true}, "app.internal:443", "", "app.internal"},
		{"clear text", nil, trusts, "app.internal:443", "it does not speak TLS", ""},
		{"too old", &tls.Config{Certificates: []tls.Certificate{named.Pair}, MaxVersion: tls.VersionTLS12}, with(func(n *roost.NodeTLS) { n.MinVersion = tls.VersionTLS13 }), "app.internal:443",
			"it refused ours: protocol version not supported", "app.internal"},
		{"another protocol", &tls.Config{Certificates: []tls.Certificate{named.Pair}, NextProtos: []string{"mqtt"}}, trusts, "app.internal:443", "it refused ours: no application protocol", "app.internal"},
		{"hangs up", &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) { h.Conn.Close(); return nil, nil }}, trusts, "app.internal:443",
			"it closed the connection in the handshake", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sni string
			if c.node != nil && c.node.GetConfigForClient == nil {
				c.node.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) { sni = h.ServerName; return nil, nil }
			}
			_, err := handshake(t, c.node, &c.ours, c.addr)
			if err != nil {
				err = pki.Explain(err)
			}
			if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if sni != c.sni {
				t.Errorf("asked for %q, want %q", sni, c.sni)
			}
		})
	}
}

func config(l pkitest.Leaf) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{l.Pair}} }

func TestFilesThatCannotBeUsedForNodesAreTold(t *testing.T) {
	leaf := pkitest.New(t, "ca").Issue(t, nil, "a")
	for want, n := range map[string]roost.NodeTLS{
		"read authorities of nodes": {CA: []byte("x")}, "read certificate for nodes": {Cert: leaf.PEM, Key: roost.Secret(leaf.PEM)},
	} {
		if _, err := pki.NodeConfig(&n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Whatever a file holds, reading it ends, and what is taken for good has a certificate's own name and number in it.
func FuzzStaple(f *testing.F) {
	leaf := pkitest.New(f, "ca").Issue(f, nil, "a.example")
	for says := range 3 {
		f.Add(leaf.Staple(f, says, time.Unix(1e9, 0), time.Unix(2e9, 0)))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		s, err := pki.ParseStaple(der, leaf.Cert)
		if err == nil && (s.From.IsZero() || !strings.Contains(string(der), string(leaf.Cert.SerialNumber.Bytes()))) {
			t.Errorf("%+v of %x", s, der)
		}
	})
}

func FuzzTicketKey(f *testing.F) {
	f.Add([]byte(strings.Repeat("0123456789abcdef", 3)))
	f.Add([]byte(strings.Repeat("0123456789abcdef", 5)))
	f.Add(make([]byte, 48))
	f.Fuzz(func(t *testing.T, file []byte) {
		key, err := pki.TicketKey(file)
		if err == nil && (len(file) != 48 && len(file) != 80 || key == [32]byte{}) {
			t.Errorf("%x of %d bytes", key, len(file))
		}
	})
}

// What is taken apart is the ID without its scheme, and survives net/url as it is.
func FuzzSPIFFE(f *testing.F) {
	f.Add("spiffe://example.org/ns/a")
	f.Add("SPIFFE://a/../b?c#d")
	f.Fuzz(func(t *testing.T, uri string) {
		id, ok := pki.SPIFFE(uri)
		if !ok {
			return
		}
		u, err := url.Parse(uri)
		if err != nil || u.Scheme != "spiffe" || u.Host+u.Path != id || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Port() != "" {
			t.Errorf("%q: %q, %v", uri, id, err)
		}
	})
}
