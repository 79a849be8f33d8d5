package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/pki/pkitest"
)

// secureNode answers HTTP under TLS with 200.
func secureNode(t *testing.T, conf *tls.Config) (addr string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "well\n")
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = conf
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestNodesUnderTLSAreProbedUnderTLSAndVerified(t *testing.T) {
	ca := pkitest.New(t, "ca")
	good := ca.Issue(t, nil, "127.0.0.1")
	old := ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "127.0.0.1")
	show := func(l pkitest.Leaf) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{l.Pair}} }
	mutual := show(good)
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	clear := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(clear.Close)
	trusts := roost.NodeTLS{CA: ca.PEM, ID: roost.Digest{1}}
	named := roost.NodeTLS{CA: ca.PEM, ServerName: "app.internal", ID: roost.Digest{2}}
	shows := roost.NodeTLS{CA: ca.PEM, Cert: good.PEM, Key: roost.Secret(good.KeyPEM), ID: roost.Digest{3}}
	broken := roost.NodeTLS{CA: []byte("x"), ID: roost.Digest{4}}
	for _, c := range []struct {
		name, addr string
		tls        *roost.NodeTLS
		tcp, http  string // what the two kinds of probe find; "": well
	}{
		{"good", secureNode(t, show(good)), &trusts, "", ""},
		{"expired", secureNode(t, show(old)), &trusts, "valid only from", "valid only from"},
		{"another name", secureNode(t, show(good)), &named, "is for 127.0.0.1, not for app.internal", "is for 127.0.0.1, not for app.internal"},
		{"unknown authority", secureNode(t, show(pkitest.New(t, "x").Issue(t, nil, "127.0.0.1"))), &trusts, "unknown authority", "unknown authority"},
		{"clear text", clear.Listener.Addr().String(), &trusts, "does not speak TLS", "does not speak TLS"},
		{"hangs up", node(t, func(c net.Conn) { c.Read(make([]byte, 10_000)); c.Close() }), &trusts, "TLS handshake: the node closed", "TLS handshake: the node closed"},
		{"says nothing", node(t, hangs), &trusts, "TLS handshake: no answer within", "TLS handshake: no answer within"},
		{"asks for a certificate", secureNode(t, mutual), &trusts, "", "certificate required"},
		{"gets one", secureNode(t, mutual), &shows, "", ""},
		{"cannot be trusted", secureNode(t, show(good)), &broken, "read authorities", "read authorities"},
	} {
		for kind, want := range map[roost.HealthKind]string{roost.HealthTCP: c.tcp, roost.HealthHTTP: c.http} {
			tg := httpTarget(c.addr)
			tg.Settings.Kind, tg.Settings.TLS = kind, c.tls
			if c.name == "says nothing" {
				tg.Settings.Timeout = 100 * time.Millisecond
			} else {
				tg.Settings.Timeout = 20 * time.Second
			}
			err := New(Options{}).check(context.Background(), &tg)
			if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s, kind %d: %v, want %q", c.name, kind, err, want)
			}
		}
	}
}
