package enginetest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"roost"
	"roost/internal/pki/pkitest"
)

// secureNode serves h under TLS until the test ends, in HTTP/2 or HTTP/1.1 as is agreed on.
func secureNode(t testing.TB, conf *tls.Config, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conf.NextProtos = []string{"h2", "http/1.1"}
	s := &http.Server{Handler: h, TLSConfig: conf, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { s.ServeTLS(ln, "", ""); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return ln.Addr().String()
}

func shows(l pkitest.Leaf) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{l.Pair}} }

// trust is a pool's TLS that trusts an authority; id tells it from others.
func trust(a *pkitest.Authority, id byte) *roost.NodeTLS {
	return &roost.NodeTLS{CA: a.PEM, MinVersion: tls.VersionTLS12, ID: roost.Digest{id}}
}

// ask sends one request over a connection of its own.
func (p *Proxy) ask() (status int, body string) {
	p.T.Helper()
	_, br := p.Send(CRLF("GET /x HTTP/1.1", "Host: shop", "Connection: close"))
	res, body := ReadAnswer(p.T, br, "GET")
	return res.StatusCode, body
}

func (engine subject) TestNodesUnderTLSAreVerifiedAndSessionsResume(t *testing.T) {
	ca := pkitest.New(t, "ca")
	node := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %q resumed %v, %s", r.Proto, r.Host, r.TLS.ServerName, r.TLS.DidResume, r.Header.Get("X-Forwarded-Proto"))
	}
	byIP, byName := secureNode(t, shows(ca.Issue(t, nil, "127.0.0.1")), node), secureNode(t, shows(ca.Issue(t, nil, "app.internal")), node)
	for _, c := range []struct {
		addr, name, want string
		protocol         roost.NodeProtocol
	}{
		{byIP, "", `HTTP/1.1 shop "" resumed %v, http`, roost.ProtocolAuto},
		{byName, "app.internal", `HTTP/1.1 shop "app.internal" resumed %v, http`, roost.ProtocolHTTP1},
		{byName, "app.internal", `HTTP/2.0 shop "app.internal" resumed %v, http`, roost.ProtocolH2C},
	} {
		p := engine.start(t, func(s *Setup) {
			s.Pool.TLS, s.Pool.Protocol = trust(ca, 1), c.protocol
			s.Pool.TLS.ServerName = c.name
			s.Pool.IdleConns, s.Pool.IdleTimeout = 0, 1 // no connection is used twice
		}, c.addr)
		if status, body := p.ask(); status != 200 || body != fmt.Sprintf(c.want, false) {
			t.Errorf("%d %s", status, body)
		}
		want := fmt.Sprintf(c.want, true)
		for i := time.Duration(1); ; i++ {
			p.E.Upkeep(time.Now().Add(i * time.Minute)) // ends what is idle; an answer comes a moment before its stream is over
			if status, body := p.ask(); status == 200 && body == want {
				break
			} else if i == 100 {
				t.Errorf("%d %s", status, body)
				break
			}
		}
		p.Close()
	}
}

func (engine subject) TestAConnectionUnderTLSIsUsedAgain(t *testing.T) {
	ca := pkitest.New(t, "ca")
	var shaken atomic.Int32
	conf := shows(ca.Issue(t, nil, "127.0.0.1"))
	conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { shaken.Add(1); return nil, nil }
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB, which is spliced where that can be
	p := engine.start(t, func(s *Setup) { s.Pool.TLS = trust(ca, 1) }, secureNode(t, conf, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || string(b) != big {
			t.Errorf("the node got %d bytes, %v", len(b), err)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		w.Write(b)
	}))
	c, br := p.Send("")
	for range 3 {
		go io.WriteString(c, CRLF("POST / HTTP/1.1", "Host: h", fmt.Sprintf("Content-Length: %d", len(big)))+big)
		if res, body := ReadAnswer(t, br, "POST"); res.StatusCode != 200 || body != big {
			t.Fatalf("%d, %d bytes", res.StatusCode, len(body))
		}
	}
	if n := shaken.Load(); n != 1 {
		t.Errorf("%d handshakes for three requests", n)
	}
}

func (engine subject) TestANodeWithoutGoodTLSIsLeftForTheNext(t *testing.T) {
	ca := pkitest.New(t, "ca")
	hello := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }
	old := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	mutual := shows(ca.Issue(t, nil, "127.0.0.1"))
	mutual.ClientAuth, mutual.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 // where the handshake waits for it
	good := secureNode(t, shows(ca.Issue(t, nil, "127.0.0.1")), hello)
	for want, bad := range map[string]string{
		"its certificate is for app.internal, not for 127.0.0.1":          secureNode(t, shows(ca.Issue(t, nil, "app.internal")), hello),
		"the certificate of 127.0.0.1 is valid only from":                 secureNode(t, shows(ca.Issue(t, old, "127.0.0.1")), hello),
		`its certificate is signed by an unknown authority, "CN=another"`: secureNode(t, shows(pkitest.New(t, "another").Issue(t, nil, "127.0.0.1")), hello),
		"it does not speak TLS":                                           Node(t, hello),
		"it closed the connection in the handshake":                       RawNode(t, func(c net.Conn, _ int) { c.Read(make([]byte, 10_000)) }),
		"it refused ours: ":                                               secureNode(t, mutual, hello),
		"no handshake within the connect timeout":                         RawNode(t, func(c net.Conn, _ int) { io.Copy(io.Discard, c) }),
	} {
		under := func(s *Setup) {
			s.Pool.TLS = trust(ca, 1)
			if strings.Contains(want, "timeout") {
				s.Pool.ConnectTimeout = 100 * time.Millisecond
			}
		}
		for _, h2 := range []roost.NodeProtocol{roost.ProtocolAuto, roost.ProtocolH2C} {
			alone := engine.start(t, func(s *Setup) { under(s); s.Pool.Protocol = h2 }, bad)
			if status, body := alone.ask(); status != 502 || !strings.Contains(body, "node_tls") {
				t.Errorf("%s: %d %s", want, status, body)
			}
			if r := alone.Wait(1); r.Fault != roost.FaultTLS || r.Reason != "node_tls" || !strings.Contains(r.Cause, want) {
				t.Errorf("%s: %v, %s, %s", want, r.Fault, r.Reason, r.Cause)
			}
			if l := alone.First.Pools[0].Nodes[0].Live; l.ConnectFail.Load() != 1 || l.HoldUntil.Load() == 0 {
				t.Errorf("%s: it says nothing of the node", want)
			}
			alone.Close()
		}
		p := engine.start(t, under, bad, good)
		if status, body := p.ask(); status != 200 || body != "hello" || p.Wait(1).Tries != 2 {
			t.Errorf("%s, with another node: %d %s", want, status, body)
		}
		p.Close()
	}
}

func (engine subject) TestANodeSeesOurCertificateOrSaysThatItWantsOne(t *testing.T) {
	ca := pkitest.New(t, "ca")
	conf := shows(ca.Issue(t, nil, "127.0.0.1"))
	conf.ClientAuth, conf.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	node := secureNode(t, conf, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	p := engine.start(t, func(s *Setup) { s.Pool.TLS = trust(ca, 1) }, node)
	if status, body := p.ask(); status != 502 || !strings.Contains(body, "node_tls") || !strings.Contains(p.Wait(1).Cause, "it refused ours: certificate required") {
		t.Errorf("without a certificate: %d %s, %s", status, body, p.Wait(1).Cause)
	}
	own := ca.Issue(t, nil, "balancer")
	p = engine.start(t, func(s *Setup) {
		s.Pool.TLS = trust(ca, 2)
		s.Pool.TLS.Cert, s.Pool.TLS.Key = own.PEM, roost.Secret(own.KeyPEM)
	}, node)
	if status, body := p.ask(); status != 200 || body != "balancer" {
		t.Errorf("with one: %d %s", status, body)
	}
}

func (engine subject) TestAChangedTLSOfNodesGoesForIdleConnectionsToo(t *testing.T) {
	ca := pkitest.New(t, "ca")
	node := secureNode(t, shows(ca.Issue(t, nil, "127.0.0.1")), func(w http.ResponseWriter, _ *http.Request) {})
	for _, protocol := range []roost.NodeProtocol{roost.ProtocolHTTP1, roost.ProtocolH2C} {
		p := engine.start(t, func(s *Setup) { s.Pool.TLS, s.Pool.Protocol = trust(ca, 1), protocol }, node)
		if status, _ := p.ask(); status != 200 {
			t.Fatal(status)
		}
		next := Successor(p.Snap.Load())
		next.Pools[0].Settings.TLS = trust(pkitest.New(t, "another"), 2)
		p.Snap.Store(next)
		if status, _ := p.ask(); status != 502 {
			t.Errorf("an authority is not trusted any more, and its node answered %d", status)
		}
		p.Close()
	}
}

func (engine subject) TestATunnelUnderTLSEndsInOrder(t *testing.T) {
	ca := pkitest.New(t, "ca")
	node := secureNode(t, shows(ca.Issue(t, nil, "127.0.0.1")), func(w http.ResponseWriter, r *http.Request) {
		c, br, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, CRLF("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"))
		line, err := br.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		io.WriteString(c, "you said "+line)
		if _, err := br.ReadByte(); err != io.EOF {
			t.Errorf("after the client's end: %v", err)
		}
		io.WriteString(c, "bye")
	})
	p := engine.start(t, func(s *Setup) { s.Pool.TLS = trust(ca, 1) }, node)
	c, br := p.Send(Upgrade)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	io.WriteString(c, "hi\n")
	if line, err := bufio.NewReader(io.LimitReader(br, 12)).ReadString('\n'); line != "you said hi\n" {
		t.Errorf("%q, %v", line, err)
	}
	c.CloseWrite()
	if rest, err := io.ReadAll(br); string(rest) != "bye" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}
