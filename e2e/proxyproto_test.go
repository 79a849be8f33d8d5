package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nginxBehind is nginx that takes PROXY headers, and says what they told it.
const nginxBehind = `
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
		listen %[2]s proxy_protocol;
		location / { return 200 "$proxy_protocol_addr:$proxy_protocol_port to $proxy_protocol_server_addr:$proxy_protocol_server_port"; }
	}
}
`

// haproxyAround is HAProxy in front of Roost, once for each version and protocol, and behind it.
const haproxyAround = `
defaults
	timeout connect 10s
	timeout client 30s
	timeout server 30s
frontend behind
	mode http
	bind %[1]s accept-proxy
	http-request return status 200 content-type text/plain lf-string "%%[src]:%%[src_port] to %%[dst]:%%[dst_port]"
listen v1
	mode tcp
	bind %[2]s
	server roost %[4]s send-proxy
listen v2
	mode tcp
	bind %[3]s
	server roost %[4]s send-proxy-v2 proxy-v2-options crc32c
`

// TestPROXYHeadersAreThoseOfHAProxyAndNginx sends a request through HAProxy, Roost and a server, and asks the server who
// the client is: in every version, over raw connections and HTTP.
func TestPROXYHeadersAreThoseOfHAProxyAndNginx(t *testing.T) {
	t.Parallel()
	haproxy, web, dir := program(t, "haproxy"), program(t, "nginx"), t.TempDir()
	behind := map[string]string{"nginx": freePort(t), "haproxy": freePort(t)}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxBehind, dir, behind["nginx"]), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, exec.Command(web, "-e", "stderr", "-p", dir, "-c", conf)).listens(t, behind["nginx"])
	for _, c := range []struct{ listener, server, send string }{
		{"tcp", "nginx", "v1"}, {"tcp", "nginx", "v2"}, {"tcp", "haproxy", "v2"}, {"http", "haproxy", "v1"}, {"http", "nginx", "v2"},
	} {
		t.Run(c.listener+" "+c.server+" "+c.send, func(t *testing.T) {
			b := serveConfig(t, 1, fmt.Sprintf(`
listeners: { front: { address: "127.0.0.1:0", protocol: %s, proxy_protocol: true, trust: 127.0.0.1 } }
routes: [ { key: client_ip, pool: p } ]
pools: { p: { nodes: [ "n=%s" ], send_proxy: %s } }
admin: { listen: ADMIN }
store: memory
`, c.listener, behind[c.server], c.send))
			front := map[string]string{"v1": freePort(t), "v2": freePort(t)}
			around := filepath.Join(t.TempDir(), "haproxy.cfg")
			if err := os.WriteFile(around, fmt.Appendf(nil, haproxyAround, behind["haproxy"], front["v1"], front["v2"], b.addr), 0o600); err != nil {
				t.Fatal(err)
			}
			h := start(t, exec.Command(haproxy, "-db", "-f", around))
			for _, addr := range []string{behind["haproxy"], front["v1"], front["v2"]} {
				h.listens(t, addr)
			}
			for _, addr := range front {
				from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
				var local string
				hc := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := from.DialContext(ctx, network, addr)
					if err == nil {
						local = conn.LocalAddr().String()
					}
					return conn, err
				}}}
				res, err := hc.Get("http://" + addr + "/")
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if want := local + " to " + addr; string(body) != want || !strings.HasPrefix(local, "127.0.0.9:") {
					t.Errorf("the server heard %q, want %q", body, want)
				}
			}
			h.kill()
		})
	}
}
