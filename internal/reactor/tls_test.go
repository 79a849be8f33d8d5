//go:build linux

package reactor

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roost"
	"roost/internal/std"
)

// tlsDoor is a reactor, of one loop unless told otherwise, that ends TLS in front of one node, and std for what it passes on.
type tlsDoor struct {
	t    testing.TB
	e    *Engine
	addr string
	conf *tls.Config
	ca   *x509.CertPool
	set  *roost.ListenerSettings
	gone chan struct{} // closed when Serve has returned
	stop context.CancelFunc
	keys chan string // of the exchanges, as far as anybody asks
	wrap func(kernel) kernel

	loops   int // 0: one
	permits chan struct{}
}

func certificate(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"roost.test"},
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, _ = x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: c}, pool
}

func p256(t testing.TB) crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// openTLS serves node behind TLS until the test ends. change may alter the settings before.
func openTLS(t testing.TB, node http.HandlerFunc, change func(*tlsDoor, *roost.Snapshot)) *tlsDoor {
	t.Helper()
	n := httptest.NewServer(node)
	t.Cleanup(n.Close)
	s := snapshotOf(n.Listener.Addr().String())
	d := &tlsDoor{t: t, set: &s.Listeners[0].Settings, gone: make(chan struct{}), keys: make(chan string, 64)}
	cert, pool := certificate(t, p256(t), nil)
	d.ca, d.conf = pool, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
	if change != nil {
		change(d, s)
	}
	snap := &atomic.Pointer[roost.Snapshot]{}
	snap.Store(s)
	log := slog.New(slog.NewTextHandler(testLog{t}, nil))
	other := std.New(std.Options{Snapshot: snap, Log: log})
	record := func(r *roost.Record) {
		select {
		case d.keys <- string(r.Key):
		default:
		}
	}
	var err error
	d.e, err = newEngine(Options{Snapshot: snap, Log: log, Loops: d.loops, Permits: d.permits, Record: record, Pass: func(p Passed) {
		other.Take(std.Guest{Conn: p.Conn, Peer: p.Peer, Ahead: p.Ahead, Served: p.Served, Done: p.Done})
	}}, func() (kernel, error) {
		s, err := openSystem()
		if d.wrap == nil || err != nil {
			return s, err
		}
		return d.wrap(s), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	run, halt := context.WithCancel(context.Background())
	d.stop = cancel
	var all sync.WaitGroup
	all.Go(func() { other.Host(run) })
	all.Go(func() { d.e.Run(run) })
	go func() {
		if err := d.e.Serve(ctx, ln, 0, func() *tls.Config { return d.conf }); err != nil {
			t.Errorf("Serve: %v", err)
		}
		close(d.gone)
	}()
	t.Cleanup(func() {
		cancel()
		<-d.gone
		halt()
		all.Wait()
		if n := d.e.Panics.Load(); n > 0 {
			t.Errorf("%d panics", n)
		}
		if n := s.Pools[0].Live.InFlight.Load(); n != 0 {
			t.Errorf("%d requests still counted in flight", n)
		}
		for _, l := range d.e.loops {
			if n := l.slab.used; n != 0 {
				t.Errorf("%d connections are left", n)
			}
		}
	})
	return d
}

// snapshotOf has one listener and one pool of one node; each request's key is its path.
func snapshotOf(node string) *roost.Snapshot {
	const long = 10 * time.Second
	return snapshot(roost.ListenerSettings{MaxConns: 20000, MaxHead: 32 << 10, MaxFields: 100, HeadTimeout: long, IdleTimeout: time.Minute,
		BodyTimeout: long, SendTimeout: long, HTTP2: true, Upgrades: []string{"websocket"}},
		roost.PoolSettings{ConnectTimeout: long, HeadTimeout: long, BodyTimeout: long, MaxTries: 1, IdleConns: 1000, IdleTimeout: time.Minute},
		[]string{node})
}

// client trusts the door's certificate and speaks HTTP/1.1.
func (d *tlsDoor) client() *tls.Config {
	return &tls.Config{RootCAs: d.ca, ServerName: "roost.test", NextProtos: []string{"http/1.1"}}
}

func (d *tlsDoor) dial() net.Conn {
	d.t.Helper()
	c, err := net.Dial("tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// shake is a client that has shaken hands over c.
func (d *tlsDoor) shake(c net.Conn, conf *tls.Config) *tls.Conn {
	d.t.Helper()
	s := tls.Client(c, conf)
	if err := s.Handshake(); err != nil {
		d.t.Fatal(err)
	}
	return s
}

func send(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

// answer reads one answer, and returns its body.
func answer(t testing.TB, br *bufio.Reader) string {
	t.Helper()
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("status %d, %d bytes of body, %v", res.StatusCode, len(body), err)
	}
	return string(body)
}

const get = "GET /k HTTP/1.1\r\nHost: h\r\n\r\n"

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s", r.Header.Get("X-Forwarded-Proto"), body)
}

func TestRequestsComeOverEveryVersionAndKeyOfTLS(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{p256(t), rsaKey} {
		d := openTLS(t, echo, func(d *tlsDoor, s *roost.Snapshot) {
			cert, pool := certificate(t, key, nil)
			d.ca, d.conf.Certificates = pool, []tls.Certificate{cert}
		})
		for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			conf := d.client()
			conf.MinVersion, conf.MaxVersion = v, v
			c := d.shake(d.dial(), conf)
			br := bufio.NewReader(c)
			for range 3 {
				send(t, c, get)
				if got := answer(t, br); got != "https " {
					t.Errorf("%s with %T: %q", tls.VersionName(v), key, got)
				}
			}
			c.Close()
		}
	}
}

// dribble writes one byte at a time.
type dribble struct{ net.Conn }

func (d dribble) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := d.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func TestHandshakesAndRecordsMayComeByteByByte(t *testing.T) {
	d := openTLS(t, echo, nil)
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conf := d.client()
		conf.MaxVersion = v
		c := d.shake(dribble{d.dial()}, conf)
		send(t, c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
		if got := answer(t, bufio.NewReader(c)); got != "https hello" {
			t.Errorf("got %q", got)
		}
	}
}

func TestWhatTheClientIsIsToldByItsCertificate(t *testing.T) {
	cert, authorities := certificate(t, p256(t), func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "device-7"} })
	d := openTLS(t, echo, func(d *tlsDoor, s *roost.Snapshot) {
		d.conf.ClientAuth, d.conf.ClientCAs = tls.VerifyClientCertIfGiven, authorities
		s.Listeners[0].Routes[0].Keys = []roost.KeyProgram{{Ops: []roost.KeyOp{{From: roost.FromCert, Name: "cn"}}, Text: "cert:cn"},
			{Ops: []roost.KeyOp{{From: roost.FromSNI}}, Text: "sni"}}
	})
	conf := d.client()
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for i, want := range []string{"roost.test", "device-7", "device-7"} {
		if i == 1 {
			conf = conf.Clone()
			conf.Certificates = []tls.Certificate{cert}
			conf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		c := d.shake(d.dial(), conf)
		send(t, c, get)
		answer(t, bufio.NewReader(c))
		if got := <-d.keys; got != want {
			t.Errorf("the key is %q, want %q", got, want)
		}
		if resumed := c.ConnectionState().DidResume; resumed != (i == 2) {
			t.Errorf("handshake %d: resumed is %v", i, resumed)
		}
		c.Close()
	}
}

func TestHTTP2IsPassedOnWithItsTLS(t *testing.T) {
	d := openTLS(t, echo, nil)
	conf := d.client()
	conf.NextProtos = nil
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	for range 3 {
		res, err := (&http.Client{Transport: tr}).Post("https://"+d.addr+"/", "", strings.NewReader("two"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.ProtoMajor != 2 || string(body) != "https two" {
			t.Errorf("%s %q", res.Proto, body)
		}
	}
	if s := d.e.Loops()[0]; s.Passed != 1 || s.Shaken != 1 {
		t.Errorf("passed %d, shaken %d", s.Passed, s.Shaken)
	}
}

// A node of the other engine's is found out at a request; what was read for it goes along, and what is buffered below.
func TestARequestForTheOtherEngineTakesItsConnectionAlong(t *testing.T) {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	two := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.Proto, body)
	}))
	two.Config.Protocols = protocols
	two.Start()
	defer two.Close()
	d := openTLS(t, echo, func(d *tlsDoor, s *roost.Snapshot) {
		other := snapshotOf(two.Listener.Addr().String()).Pools[0]
		other.ID, other.Settings.Protocol = "two", roost.ProtocolH2C
		s.Pools = append(s.Pools, other)
		first := *s.Listeners[0].Routes[0]
		first.Name, first.PoolID, first.Pool, first.Match.Methods = "two", "two", 1, []string{"POST"}
		s.Listeners[0].Routes = slices.Insert(s.Listeners[0].Routes, 0, &first)
	})
	c := d.shake(d.dial(), d.client())
	br := bufio.NewReader(c)
	send(t, c, get)
	answer(t, br)
	body := strings.Repeat("b", 100_000)
	send(t, c, "POST /two HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"+body+get)
	if got := answer(t, br); got != "HTTP/2.0 "+body {
		t.Errorf("the other engine answered %.20q", got)
	}
	if got := answer(t, br); got != "https " {
		t.Errorf("and then %q", got)
	}
	if n := d.e.Loops()[0].Passed; n != 1 {
		t.Errorf("%d passed on", n)
	}
}

func TestLargeBodiesComeThroughWhole(t *testing.T) {
	const size = 8 << 20
	body := make([]byte, size)
	rand.Read(body)
	d := openTLS(t, func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		if r.Method == "POST" && !bytes.Equal(got, body) {
			w.WriteHeader(500)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(size))
		w.Write(body)
	}, nil)
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conf := d.client()
		conf.MaxVersion = v
		c := d.dial()
		c.(*net.TCPConn).SetReadBuffer(64 << 10) // so that the loop is blocked again and again
		s := d.shake(c, conf)
		br := bufio.NewReader(s)
		sent := make(chan error, 1)
		go func() {
			_, err := s.Write(append([]byte(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size)), body...))
			sent <- err
		}()
		if got := answer(t, br); got != string(body) {
			t.Errorf("%s: %d bytes that differ", tls.VersionName(v), len(got))
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		send(t, s, get)
		answer(t, br)
	}
}

func TestWhatIsNoClientHelloIsRefused(t *testing.T) {
	d := openTLS(t, echo, nil)
	for _, x := range []struct {
		name, sent string
		alert      byte // 0: closed without a word
	}{
		{"clear text", get, 0},
		{"a ServerHello", "\x16\x03\x01\x00\x04\x02\x00\x00\x00", 50},                           // decode_error
		{"a hello that is cut off", "\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\x00\x00", 50}, // decode_error
		{"a record that is too long", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 600), 22},    // record_overflow
	} {
		c := d.dial()
		send(t, c, x.sent)
		got, err := io.ReadAll(c)
		want := ""
		if x.alert != 0 {
			want = "\x15\x03\x01\x00\x02\x02" + string(x.alert)
		}
		if len(got) > 2 {
			got[2] = 1
		}
		if err != nil || string(got) != want {
			t.Errorf("%s: answered %x, %v; want %x", x.name, got, err, want)
		}
	}
	if s := d.e.Loops()[0]; s.Unshaken != 4 || s.Shaken != 0 {
		t.Errorf("%d failed, %d done", s.Unshaken, s.Shaken)
	}
}

func TestAHandshakeHasItsTime(t *testing.T) {
	d := openTLS(t, echo, func(d *tlsDoor, s *roost.Snapshot) { d.set.HeadTimeout = 50 * time.Millisecond })
	half := d.dial() // half a ClientHello
	stall := d.dial()
	server, client := net.Pipe()
	go tls.Client(client, d.client()).Handshake()
	hello := make([]byte, 4096)
	n, _ := server.Read(hello)
	client.Close()
	send(t, half, string(hello[:n/2]))
	send(t, stall, string(hello[:n])) // and nothing more
	for _, c := range []net.Conn{half, stall} {
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Error(err)
		}
	}
}

func TestAHandshakeWaitsInLineWhenTooManyAreUnderWay(t *testing.T) {
	d := openTLS(t, echo, nil)
	l := d.e.loops[0]
	on := func(f func(l *loop)) {
		done := make(chan bool)
		l.post(func(l *loop) { f(l); close(done) })
		<-done
	}
	on(func(l *loop) { l.shakes += maxHandshakes })
	first := make(chan error, 1)
	c := tls.Client(d.dial(), d.client())
	go func() { first <- c.Handshake() }()
	for waiting := false; !waiting; {
		on(func(l *loop) { waiting = len(l.hellos) == 1 })
	}
	on(func(l *loop) { l.hellos = append(l.hellos, make([]token, maxLine-1)...) }) // of clients that are gone
	if err := tls.Client(d.dial(), d.client()).Handshake(); err == nil {
		t.Error("the line has no end")
	}
	select {
	case err := <-first:
		t.Errorf("it did not wait: %v", err)
	default:
	}
	on(func(l *loop) { l.shakes -= maxHandshakes; l.nextInLine() })
	if err := <-first; err != nil {
		t.Error(err)
	}
	send(t, c, get)
	answer(t, bufio.NewReader(c))
	if n := d.e.Loops()[0].Shaking; n != 0 {
		t.Errorf("%d are left", n)
	}
}

// The end of the engine, or of a client, finds handshakes wherever they are.
func TestNoHandshakeOutlivesTheEngine(t *testing.T) {
	computing, on := make(chan bool, 1), make(chan bool)
	d := openTLS(t, echo, func(d *tlsDoor, s *roost.Snapshot) {
		cert := d.conf.Certificates[0]
		d.conf.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if h.ServerName == "slow.test" {
				computing <- true
				<-on
			}
			return &cert, nil
		}
	})
	c := d.shake(d.dial(), d.client()) // done
	server, client := net.Pipe()
	go tls.Client(client, d.client()).Handshake()
	hello := make([]byte, 4096)
	n, _ := server.Read(hello)
	client.Close()
	waits := d.dial()
	send(t, waits, string(hello[:n]))
	if _, err := waits.Read(hello[:1]); err != nil { // our flight: it waits for the client's
		t.Fatal(err)
	}
	slow := d.dial()
	conf := d.client()
	conf.ServerName = "slow.test"
	failed := make(chan error, 1)
	go func() { failed <- tls.Client(slow, conf).Handshake() }()
	<-computing
	gone := d.dial()
	send(t, gone, string(hello[:10]))
	gone.Close()
	d.stop()
	<-d.gone
	if err := <-failed; err == nil {
		t.Error("a handshake was done after the end")
	}
	if _, err := c.Read(hello); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("what is cut off looks complete: %v", err)
	}
	close(on)
}
