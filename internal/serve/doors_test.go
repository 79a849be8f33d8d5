package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/api"
)

// certificate makes files of a certificate of that name, and trust in it.
func certificate(t *testing.T, name string) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{{127, 0, 0, 1}}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, key, roots
}

func TestTLSIsTurnedOnChangedAndTurnedOffWhileTheSocketStays(t *testing.T) {
	node, _ := echo(t, "n")
	cert, key, roots := certificate(t, "one")
	cert2, key2, roots2 := certificate(t, "two")
	addr := freeAddr(t)
	conf := func(tls string) string {
		return fmt.Sprintf("listeners: { web: { address: %q%s } }\npools: { fn: { nodes: [ %s ] } }\n", addr, tls, node)
	}
	shows := func(cert, key, min string) string {
		return fmt.Sprintf(", tls: { certificates: [ { cert: %s, key: %s } ], min_version: %q }", cert, key, min)
	}
	h := build(t, conf(""), houseOptions{})
	clear := dial(t, addr)
	clear.get("/x")

	h.write(conf(shows(cert, key, "1.2")))
	h.reloaded()
	sessions := tls.NewLRUClientSessionCache(4)
	secure := func(roots *x509.CertPool, name string, version uint16) (resumed bool) {
		t.Helper()
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: name, ClientSessionCache: sessions, MaxVersion: version})
		if err != nil {
			t.Fatalf("handshake as %s: %v", name, err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if b, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(b), "n /s") {
			t.Errorf("over TLS: %s %v", b, err)
		}
		return c.ConnectionState().DidResume
	}
	secure(roots, "one", 0)
	if l := h.Status().Listeners[0]; !l.TLS || len(l.Certificates) != 1 || l.Certificates[0].Names[0] != "one" {
		t.Errorf("status: %+v", l)
	}
	if body, _ := clear.get("/y"); body != "n /y" {
		t.Errorf("the clear connection from before: %q", body)
	}
	h.write(conf(shows(cert, key, "1.3"))) // the same certificates under other rules
	h.reloaded()
	if !secure(roots, "one", 0) {
		t.Error("a session of before the reload was not resumed")
	}
	if _, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "one", MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 is still spoken")
	}
	h.write(conf(shows(cert2, key2, "1.2")))
	h.reloaded()
	secure(roots2, "two", tls.VersionTLS12)

	h.write(conf(shows(cert2, t.TempDir()+"/absent", "1.2")))
	if r := h.Reload(t.Context(), "api", false); r.OK {
		t.Error("a key that is not there was taken")
	}
	secure(roots2, "two", 0)
	h.write(conf(""))
	h.reloaded()
	if body, _ := dial(t, addr).get("/z"); body != "n /z" {
		t.Errorf("in clear again: %q", body)
	}
	if l := h.Status().Listeners[0]; l.TLS || l.Address != addr {
		t.Errorf("status: %+v", l)
	}
}

// state is a directory whose path is short enough for a socket in it.
func state(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "roost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// operator asks the admin API over TCP, or over a unix socket.
type operator struct {
	t     *testing.T
	url   string
	token string
	http  http.Client
}

func overSocket(t *testing.T, path string) *operator {
	return &operator{t: t, url: "http://localhost", http: http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}}
}

func overTCP(t *testing.T, addr, tokenFile string) *operator {
	t.Helper()
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	return &operator{t: t, url: "http://" + addr, token: strings.TrimSpace(string(token)), http: http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (o *operator) do(method, path, body string, into any) int {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), method, o.url+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	if o.token != "" {
		req.Header.Set("Authorization", "Bearer "+o.token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := o.http.Do(req)
	if err != nil {
		o.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && into != nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		o.t.Fatalf("%s %s: %d %s: %v", method, path, resp.StatusCode, text, err)
	}
	return resp.StatusCode
}

func TestTheAdminListenerMovesAndTheReloadThatMovesItIsAnsweredWhereItWasAsked(t *testing.T) {
	node, _ := echo(t, "n")
	dir := state(t)
	was, now := freeAddr(t), freeAddr(t)
	conf := func(listen, socket string) string {
		return fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ n=%s ] } }\nstate: %s\nstore: memory\nadmin: { listen: %s, socket: %s/%s }\n", node, dir, listen, dir, socket)
	}
	h := build(t, conf(was, "a.sock"), houseOptions{})
	over := overTCP(t, was, dir+"/admin.token")
	token := over.token
	var st roost.Status
	if status := over.do("GET", "/api/v1/status", "", &st); status != 200 || !st.Ready || st.Store.Kind != "memory" {
		t.Fatalf("status: %d %+v", status, st)
	}
	over.token = ""
	if status := over.do("GET", "/api/v1/status", "", nil); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
	over.token = token

	h.write(conf(now, "b.sock"))
	var r api.Reload
	if status := over.do("POST", "/api/v1/reload", "", &r); status != 200 || !r.OK {
		t.Fatalf("reload: %d %+v", status, r)
	}
	moved := overTCP(t, now, dir+"/admin.token")
	if status := moved.do("GET", "/api/v1/status", "", &st); status != 200 || st.Reload.By != "api" {
		t.Errorf("at the new address: %d %+v", status, st.Reload)
	}
	refused(t, was)
	socket := overSocket(t, dir+"/b.sock")
	var k api.Key
	if status := socket.do("GET", "/api/v1/pools/fn/keys/where?key=k", "", &k); status != 200 || len(k.Homes) != 1 || k.Homes[0] != "n" {
		t.Errorf("where, over the socket: %d %+v", status, k)
	}
	var e api.Explanation
	if status := socket.do("POST", "/api/v1/explain", `{"url":"/x"}`, &e); status != 200 || e.Choice != "n" || !e.Live {
		t.Errorf("explain: %d %+v", status, e)
	}
	var changed api.Changed
	if status := socket.do("PATCH", "/api/v1/pools/fn", `{"homes":1}`, &changed); status != 200 || changed.Revision != 1 {
		t.Errorf("change: %d %+v", status, changed)
	}
	if _, err := os.Stat(dir + "/a.sock"); !os.IsNotExist(err) {
		t.Errorf("the old socket is still there: %v", err)
	}
	if strings.Contains(h.log.String(), token) {
		t.Error("the token is in the log")
	}

	// A token that was replaced holds from the next reload on.
	os.Remove(dir + "/admin.token")
	h.reloaded()
	if status := moved.do("GET", "/api/v1/status", "", nil); status != http.StatusUnauthorized {
		t.Errorf("with the old token: %d", status)
	}
	if status := overTCP(t, now, dir+"/admin.token").do("GET", "/api/v1/status", "", nil); status != 200 {
		t.Errorf("with the new token: %d", status)
	}
}

func TestTheAdminListenerTurnsToTLSWhereItIs(t *testing.T) {
	node, _ := echo(t, "n")
	cert, key, roots := certificate(t, "admin")
	dir, addr := state(t), freeAddr(t)
	conf := "listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\nstate: %s\nstore: memory\nadmin: { listen: %s%s }\n"
	h := build(t, fmt.Sprintf(conf, node, dir, addr, ""), houseOptions{})
	h.write(fmt.Sprintf(conf, node, dir, addr, fmt.Sprintf(", tls: { cert: %s, key: %s }", cert, key)))
	h.reloaded()
	o := overTCP(t, addr, dir+"/admin.token")
	o.url = "https://" + addr
	o.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	if status := o.do("GET", "/api/v1/status", "", nil); status != 200 {
		t.Errorf("over TLS: %d", status)
	}
	_, port, _ := net.SplitHostPort(addr)
	h.write(fmt.Sprintf(conf, node, dir, "\":"+port+"\"", fmt.Sprintf(", tls: { cert: %s, key: %s }", cert, key)))
	if r := h.reloaded(); !slices.Contains(r.Changes, "admin: listen "+addr+" → :"+port) {
		t.Errorf("changes: %q", r.Changes)
	}
	if status := o.do("GET", "/api/v1/status", "", nil); status != 200 {
		t.Errorf("on every interface: %d", status)
	}
}

func TestTwoBalancersCannotShareOneState(t *testing.T) {
	node, _ := echo(t, "n")
	dir := state(t)
	conf := fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\nstate: %s\nstore: memory\nadmin: { listen: off }\n", node, dir)
	h := build(t, conf, houseOptions{})
	_, err := Open(h.load(), Options{})
	if err == nil || !strings.Contains(err.Error(), "already in use") {
		t.Errorf("the second start: %v", err)
	}
	if status := overSocket(t, dir+"/roost.sock").do("GET", "/api/v1/status", "", nil); status != 200 {
		t.Errorf("the first one: %d", status)
	}
	if err := h.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/roost.sock"); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestNothingRunsOnAfterTheEnd(t *testing.T) {
	node, _ := echo(t, "n")
	cert, key, _ := certificate(t, "one")
	dir := state(t)
	conf := func(address string) string {
		return fmt.Sprintf("listeners: { web: { address: %q, tls: { certificates: [ { cert: %s, key: %s } ] } }, clear: { address: \"127.0.0.1:0\" } }\n"+
			"pools: { fn: { nodes: [ %s ] } }\nlog: { access: %s/access.log }\nstate: %s\nadmin: { listen: 127.0.0.1:0 }\n", address, cert, key, node, dir, dir)
	}
	h := build(t, conf("127.0.0.1:0"), houseOptions{watches: true})
	dial(t, h.addr("clear")).get("/x")
	tunnel := dial(t, h.addr("clear"))
	tunnel.upgrade("/ws")
	h.write(conf(freeAddr(t)))
	h.reloaded()
	h.change(roost.SetHomes{Pool: "fn", Homes: 2})
	overSocket(t, dir+"/roost.sock").do("GET", "/api/v1/status", "", nil)
	tunnel.Close()
	if err := h.end(); err != nil {
		t.Fatal(err)
	}
	left := func() (which []string) {
		stacks := make([]byte, 1<<20)
		for _, g := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(g, "roost/internal/") && !strings.Contains(g, "testing.tRunner") {
				which = append(which, g)
			}
		}
		return which
	}
	// A goroutine that said it is done may still be on its way out.
	for limit := time.Now().Add(patience); len(left()) > 0; runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatalf("still there:\n%s", strings.Join(left(), "\n\n"))
		}
	}
}
