package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roost/internal/pki/pkitest"
)

// files keeps what a test writes in one directory.
type files string

func (d files) write(t testing.TB, name string, parts ...[]byte) string {
	t.Helper()
	file := filepath.Join(string(d), name)
	if err := os.WriteFile(file+".new", bytes.Join(parts, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	return file
}

func (d files) pair(t testing.TB, name string, l pkitest.Leaf) (cert, key string) {
	t.Helper()
	return d.write(t, name+".pem", l.PEM), d.write(t, name+".key", l.KeyPEM)
}

// sClient makes one request by openssl s_client, and returns all that it says.
func sClient(t testing.TB, addr string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, "openssl"), append([]string{"s_client", "-connect", addr, "-servername", "lb.example", "-ign_eof"}, args...)...)
	cmd.Stdin = strings.NewReader("GET / HTTP/1.1\r\nHost: lb.example\r\nConnection: close\r\n\r\n")
	out, err := cmd.CombinedOutput() // it fails where the handshake does
	if ctx.Err() != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	return string(out)
}

// device7 makes a certificate that of device 7 of the organisation acme.
func device7(c *x509.Certificate) {
	c.Subject.Organization = []string{"acme"}
	c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/device/7"}}
}

const clientsConfig = `
listeners:
  web:
    address: "127.0.0.1:0"
    tls:
      certificates: [ { cert: "%[1]s/lb.pem", key: "%[1]s/lb.key", ocsp: "%[1]s/lb.ocsp" } ]
      client_auth: required
      client_ca: "%[1]s/clients.pem"
      ticket_keys: "%[1]s/ticket.key"
routes: [ { key: "{cert:o}/{cert:spiffe}", on_missing_key: reject } ]
pools: { p: { nodes: [ "n1=%[2]s", "n2=%[3]s", "n3=%[4]s" ], pins: { "acme/example.org/device/7": { nodes: [ n2 ] } } } }
admin: { listen: ADMIN }
store: memory
`

// TestOpenSSLClientsAreKnownByTheirCertificates looks with somebody else's TLS at all that a listener does with it: client
// certificates as keys, stapling, and sessions that resume at another balancer, until their authority is gone.
func TestOpenSSLClientsAreKnownByTheirCertificates(t *testing.T) {
	t.Parallel()
	dir, issuer, clients := files(t.TempDir()), pkitest.New(t, "issuer"), pkitest.New(t, "clients")
	lb := issuer.Issue(t, nil, "lb.example")
	dir.pair(t, "lb", lb)
	dir.write(t, "lb.ocsp", lb.Staple(t, pkitest.Good, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)))
	dir.write(t, "clients.pem", clients.PEM)
	dir.write(t, "ticket.key", []byte(strings.Repeat("0123456789", 8)))
	ca := dir.write(t, "ca.pem", issuer.PEM)
	device, deviceKey := dir.pair(t, "device", clients.Issue(t, device7))
	thief, thiefKey := dir.pair(t, "thief", pkitest.New(t, "another").Issue(t, device7))
	nodes := echoes(t, 3)
	config := fmt.Sprintf(clientsConfig, dir, nodes[0], nodes[1], nodes[2])
	here, there := serveConfig(t, 1, config), serveConfig(t, 1, config)
	want := func(out string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("no %q in\n%s", w, out)
			}
		}
	}
	for version, reused := range map[string]string{"-tls1_2": "Reused, TLSv1.2", "-tls1_3": "Reused, TLSv1.3"} {
		session := filepath.Join(string(dir), "session"+version)
		with := []string{version, "-CAfile", ca, "-verify_return_error", "-cert", device, "-key", deviceKey}
		want(sClient(t, here.addr, append(with, "-status", "-sess_out", session)...), "HTTP/1.1 200", "Cert Status: good", "New, TLSv1", "Node: n2")
		want(sClient(t, there.addr, append(with, "-sess_in", session)...), "HTTP/1.1 200", reused, "Node: n2")
		if out := sClient(t, here.addr, version, "-CAfile", ca); strings.Contains(out, "HTTP/1.1 200") {
			t.Errorf("without a certificate: %s", out)
		}
		if out := sClient(t, here.addr, version, "-CAfile", ca, "-cert", thief, "-key", thiefKey); strings.Contains(out, "HTTP/1.1 200") {
			t.Errorf("with one of an unknown authority: %s", out)
		}
	}
	for _, version := range []string{"--http1.1", "--http2"} {
		_, port, _ := strings.Cut(here.addr, ":")
		c := curl(t, version, "--cacert", ca, "--cert", device, "--key", deviceKey, "--resolve", "lb.example:"+port+":127.0.0.1", "https://lb.example:"+port+"/")
		if c.code != 0 || c.status != "200" || !strings.Contains(c.head, "node: n2") {
			t.Errorf("curl %s: exit code %d, %s, %s\n%s", version, c.code, c.status, c.head, c.verbose)
		}
	}
	dir.write(t, "clients.pem", pkitest.New(t, "new clients").PEM)
	here.stderr.await(t, 1, "authorities of clients reloaded", func(line string) bool { return strings.Contains(line, "authorities of clients reloaded") })
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		out := sClient(t, here.addr, version, "-cert", device, "-key", deviceKey, "-sess_in", filepath.Join(string(dir), "session"+version))
		if strings.Contains(out, "HTTP/1.1 200") {
			t.Errorf("its authority is gone, and its session served: %s", out)
		}
	}
}

const nodesConfig = `
listeners: { web: { address: "127.0.0.1:0", limits: { idle_timeout: 60s } } }
routes:
  - { match: { path: "/nginx" }, pool: nginx }
  - { match: { path: "/nginx-h2" }, pool: nginx-h2 }
  - { match: { path: "/haproxy" }, pool: haproxy }
  - { match: { path: "/haproxy-h2" }, pool: haproxy-h2 }
  - { match: { path: "/unshown" }, pool: unshown }
  - { match: { path: "/misnamed" }, pool: misnamed }
pools:
  nginx: { nodes: [ "nginx=%[2]s" ], tls: &tls { server_name: app.internal, ca: "%[1]s/ca.pem", cert: "%[1]s/lb.pem", key: "%[1]s/lb.key" }, health: &health { probe: /, interval: 100ms } }
  nginx-h2: { nodes: [ "nginx-h2=%[2]s" ], tls: *tls, protocol: h2 }
  haproxy: { nodes: [ "haproxy=%[3]s" ], tls: *tls, health: *health }
  haproxy-h2: { nodes: [ "haproxy-h2=%[3]s" ], tls: *tls, protocol: h2 }
  unshown: { nodes: [ "unshown=%[2]s" ], tls: { server_name: app.internal, ca: "%[1]s/ca.pem" } }
  misnamed: { nodes: [ "misnamed=%[3]s" ], tls: { ca: "%[1]s/ca.pem", cert: "%[1]s/lb.pem", key: "%[1]s/lb.key" }, health: *health }
admin: { listen: ADMIN }
store: memory
`

const nginxUnderTLS = `
daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	default_type text/plain;
	server {
		listen %[2]s ssl http2;
		ssl_certificate %[1]s/app.pem;
		ssl_certificate_key %[1]s/app.key;
		ssl_client_certificate %[1]s/ca.pem;
		ssl_verify_client on;
		location / { return 200 "$server_protocol $ssl_server_name $ssl_client_s_dn $http_x_forwarded_proto"; }
	}
}
`

const haproxyUnderTLS = `
defaults
	mode http
	timeout connect 10s
	timeout client 30s
	timeout server 30s
frontend app
	bind %[2]s ssl crt %[1]s/both.pem ca-file %[1]s/ca.pem verify required alpn h2,http/1.1
	http-request return status 200 content-type text/plain lf-string "HTTP/%%[req.ver] %%[ssl_fc_sni] %%[ssl_c_s_dn(CN)] %%[req.hdr(x-forwarded-proto)]"
`

// TestNodesUnderTLSAreThoseOfNginxAndHAProxy speaks TLS to other people's servers that want a certificate of ours, over both
// versions of HTTP, and changes the authority while they are in use.
func TestNodesUnderTLSAreThoseOfNginxAndHAProxy(t *testing.T) {
	t.Parallel()
	haproxy, web := program(t, "haproxy"), program(t, "nginx")
	dir, ca := files(t.TempDir()), pkitest.New(t, "ca")
	app := ca.Issue(t, nil, "app.internal")
	dir.pair(t, "app", app)
	dir.write(t, "both.pem", app.PEM, app.KeyPEM)
	dir.pair(t, "lb", ca.Issue(t, nil, "balancer"))
	dir.write(t, "ca.pem", ca.PEM)
	atNginx, atHAProxy := freePort(t), freePort(t)
	nginxConf, haproxyConf := dir.write(t, "nginx.conf", fmt.Appendf(nil, nginxUnderTLS, dir, atNginx)), dir.write(t, "haproxy.cfg", fmt.Appendf(nil, haproxyUnderTLS, dir, atHAProxy))
	start(t, exec.Command(web, "-e", "stderr", "-p", string(dir), "-c", nginxConf)).listens(t, atNginx)
	start(t, exec.Command(haproxy, "-db", "-f", haproxyConf)).listens(t, atHAProxy)
	b := serveConfig(t, 1, fmt.Sprintf(nodesConfig, dir, atNginx, atHAProxy))
	client := newClient(t, false)
	answers := func(path string) string {
		res, body, err := do(client, "GET", b.url(path), nil)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(res.StatusCode, " ", strings.TrimSpace(body))
	}
	for path, want := range map[string]string{
		"/nginx":      "200 HTTP/1.1 app.internal CN=balancer http",
		"/nginx-h2":   "200 HTTP/2.0 app.internal CN=balancer http",
		"/haproxy":    "200 HTTP/1.1 app.internal balancer http",
		"/haproxy-h2": "200 HTTP/2.0 app.internal balancer http",
		"/unshown":    "400", // nginx takes the handshake, and says it in HTTP
		"/misnamed":   "502",
	} {
		for range 3 {
			if got := answers(path); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		}
	}
	for _, node := range []string{"nginx", "haproxy"} {
		b.awaitNode(t, node, true)
	}
	eventually(t, patience, func() string { // requests met it before probes
		if reason := b.nodeStatus(t, "misnamed").Reason; !strings.Contains(reason, "its certificate is for app.internal, not for 127.0.0.1") {
			return fmt.Sprintf("the reason of a node with another name is %q", reason)
		}
		return ""
	})

	dir.write(t, "ca.pem", pkitest.New(t, "another").PEM)
	for _, path := range []string{"/nginx", "/nginx-h2", "/haproxy", "/haproxy-h2"} {
		eventually(t, patience, func() string {
			if got := answers(path); !strings.HasPrefix(got, "502") || !strings.Contains(got, "node_tls") {
				return fmt.Sprintf("%s: %s after its authority is gone", path, got)
			}
			return ""
		})
	}
	eventually(t, patience, func() string {
		if reason := b.nodeStatus(t, "nginx").Reason; !strings.Contains(reason, "unknown authority") {
			return fmt.Sprintf("the reason is %q", reason)
		}
		return ""
	})
	dir.write(t, "ca.pem", ca.PEM)
	for _, path := range []string{"/nginx", "/nginx-h2", "/haproxy", "/haproxy-h2"} {
		eventually(t, patience, func() string {
			if got := answers(path); !strings.HasPrefix(got, "200") {
				return fmt.Sprintf("%s: %s after its authority is back", path, got)
			}
			return ""
		})
	}
}
