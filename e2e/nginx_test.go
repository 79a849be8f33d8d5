package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// nginx is a real server that logs every request it gets.
type nginx struct {
	*child
	addr, log string
}

const nginxConf = `
daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr;
events { worker_connections 1024; }
http {
	log_format calls '$request_method $request_uri $status';
	access_log %[1]s/access.log calls;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	default_type text/plain;
	server {
		listen %[2]s;
		location / { return 200 "hello\n"; }
	}
}
`

func startNginx(t testing.TB) *nginx {
	t.Helper()
	path, dir := program(t, "nginx"), t.TempDir()
	n := &nginx{addr: freePort(t), log: filepath.Join(dir, "access.log")}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, n.addr), 0o600); err != nil {
		t.Fatal(err)
	}
	n.child = start(t, exec.Command(path, "-e", "stderr", "-p", dir, "-c", conf))
	n.listens(t, n.addr)
	return n
}

// calls ends the server and returns how often it was asked for each target.
func (n *nginx) calls(t testing.TB) map[string]int {
	t.Helper()
	n.signal(t, syscall.SIGQUIT) // ends after the last request is logged
	n.wait(t, patience)
	text, err := os.ReadFile(n.log)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "200" {
			calls[f[1]]++
		}
	}
	return calls
}

// TestTenCallsOfAnIdleFunctionReachOneServer is IronFunctions' issue 570: with three servers behind the balancer, ten
// calls of one function started three containers, because an idle pool looked overloaded to itself.
func TestTenCallsOfAnIdleFunctionReachOneServer(t *testing.T) {
	t.Parallel()
	var servers []*nginx
	var addrs []string
	for range 3 {
		n := startNginx(t)
		servers, addrs = append(servers, n), append(addrs, n.addr)
	}
	b := serve(t, "--nodes", strings.Join(addrs, ","))
	client := newClient(t, false)
	call := func(target string) {
		resp, text, err := do(client, http.MethodGet, b.url(target), nil)
		if err != nil {
			t.Error(err)
		} else if resp.StatusCode != http.StatusOK || text != "hello\n" {
			t.Errorf("%s: %s %q", target, resp.Status, text)
		}
	}

	const functions, calls = 40, 10
	for f := range functions { // the whole pool is idle but for this one call
		for range calls {
			call(fmt.Sprintf("/r/sequential/f%d", f))
		}
	}
	for f := range functions { // and but for three calls of the same function
		var wg sync.WaitGroup
		left := make(chan struct{}, calls)
		for range calls {
			left <- struct{}{}
		}
		close(left)
		for range 3 {
			wg.Go(func() {
				for range left {
					call(fmt.Sprintf("/r/three/f%d", f))
				}
			})
		}
		wg.Wait()
	}
	var wg sync.WaitGroup
	for f := range functions { // and while others are called: three at a time in all
		wg.Go(func() {
			for range calls {
				call(fmt.Sprintf("/r/mixed/f%d", f))
			}
		})
		if f%3 == 2 {
			wg.Wait()
		}
	}
	wg.Wait()
	if t.Failed() {
		return
	}

	total := map[string]int{}
	reached := map[string]int{}
	for i, n := range servers {
		own := n.calls(t)
		if len(own) < 3*functions/3/4 {
			t.Errorf("server %d got only %d of %d functions", i+1, len(own), 3*functions)
		}
		for target, calls := range own {
			total[target] += calls
			reached[target]++
		}
	}
	if len(total) != 3*functions {
		t.Errorf("%d functions are in the servers' logs, called were %d", len(total), 3*functions)
	}
	for target := range total {
		if total[target] != calls || reached[target] != 1 {
			t.Errorf("%s: %d calls reached %d servers, want %d calls on 1", target, total[target], reached[target], calls)
		}
	}
}
