package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"roost/internal/differ"
)

var update = flag.Bool("update", false, "rewrite golden files")

const haproxyOracle = `
global
	nbthread 1
defaults
	mode http
	timeout connect 5s
	timeout client 1s
	timeout server 1s
	timeout http-keep-alive 500ms
	retries 0
	http-reuse never
listen front
	bind %s
	server node %s
`

const nginxOracle = `
daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr;
events { worker_connections 256; }
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	map $http_upgrade $hop { default upgrade; '' ''; }
	server {
		listen %[2]s;
		client_max_body_size 0;
		underscores_in_headers on;
		ignore_invalid_headers off;
		keepalive_timeout 500ms;
		client_header_timeout 1s;
		client_body_timeout 1s;
		location / {
			proxy_pass http://%[3]s;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header Connection $hop;
			proxy_set_header Upgrade $http_upgrade;
			proxy_request_buffering off;
			proxy_ignore_client_abort on;
			proxy_next_upstream off;
			proxy_read_timeout 1s;
		}
	}
}
`

// subject is a proxy with a node of its own, and what it made of each case.
type subject struct {
	name, addr string
	node       *differ.Node
	made       map[*differ.Case]differ.Meaning
}

func newSubject(t *testing.T, name string, open func(t *testing.T, node string) (addr string)) *subject {
	n, err := differ.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return &subject{name, open(t, n.Addr), n, map[*differ.Case]differ.Meaning{}}
}

// run sends a case. The node ends its connections between two cases, and a proxy may take one for the next before it has
// seen that: then what may not be repeated gets a 502 by chance, which does not come again and again.
func (s *subject) run(c *differ.Case) (m differ.Meaning, err error) {
	for range 4 {
		if m, err = differ.Run(s.addr, s.node, c); err != nil || !strings.Contains(m.Exact(), "client \"HTTP/1.1 502 ") {
			break
		}
	}
	return m, err
}

func openRoost(engine string) func(*testing.T, string) string {
	return func(t *testing.T, node string) string {
		return serve(t, "--engine", engine, "--loops", "1", "--nodes", node, "--health", "none", "--store", "memory").addr
	}
}

func openHAProxy(t *testing.T, node string) string {
	path, addr, conf := program(t, "haproxy"), freePort(t), filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(conf, fmt.Appendf(nil, haproxyOracle, addr, node), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, exec.Command(path, "-db", "-f", conf)).listens(t, addr)
	return addr
}

func openNginx(t *testing.T, node string) string {
	path, addr, dir := program(t, "nginx"), freePort(t), t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxOracle, dir, addr, node), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, exec.Command(path, "-e", "stderr", "-p", dir, "-c", conf)).listens(t, addr)
	return addr
}

// TestProxiesAgreeOnWhatBytesMean sends a corpus of hostile and of odd messages through both engines, HAProxy and nginx.
// The engines must give each the same meaning to the last byte. Where the two others agree and Roost differs, the corpus
// says why.
func TestProxiesAgreeOnWhatBytesMean(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/differential/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	var cases []*differ.Case
	in, texts := map[*differ.Case]string{}, map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts[f] = string(text)
		some, err := differ.Corpus(string(text))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, c := range some {
			in[c] = f
			cases = append(cases, c)
		}
	}
	roosts := []*subject{newSubject(t, "std", openRoost("std"))}
	if runtime.GOOS == "linux" {
		roosts = append(roosts, newSubject(t, "reactor", openRoost("reactor")))
	}
	var oracles []*subject
	t.Run("HAProxy and nginx", func(sub *testing.T) { // without them the engines are compared all the same
		program(sub, "haproxy")
		program(sub, "nginx")
		oracles = append(oracles, newSubject(t, "HAProxy", openHAProxy), newSubject(t, "nginx", openNginx))
	})
	var all sync.WaitGroup
	for i, s := range append(roosts, oracles...) {
		all.Go(func() {
			for _, c := range cases {
				now := *c
				now.Patient = i >= len(roosts)
				m, err := s.run(&now)
				if err != nil {
					t.Errorf("%s: %s: %v", s.name, c.Name, err)
				}
				s.made[c] = m
			}
		})
	}
	all.Wait()
	want := map[string]map[string]string{}
	for _, c := range cases {
		std := roosts[0].made[c]
		if want[in[c]] == nil {
			want[in[c]] = map[string]string{}
		}
		want[in[c]][c.Name] = std.Brief()
		t.Run(strings.TrimSuffix(filepath.Base(in[c]), ".txt")+"/"+c.Name, func(t *testing.T) {
			where := fmt.Sprintf("%s:%d: ", in[c], c.Line)
			for _, s := range roosts {
				if amiss := s.made[c].Amiss(); amiss != "" {
					t.Errorf("%s%s: %s", where, s.name, amiss)
				}
				if got, want := s.made[c].Exact(), std.Exact(); got != want {
					t.Errorf("%sthe engines differ\n--- std\n%s--- %s\n%s", where, want, s.name, got)
				}
			}
			if got := std.Brief(); got != c.Want && !*update {
				t.Errorf("%sits meaning has changed\n--- is\n%s--- was\n%s", where, got, c.Want)
			}
			if oracles == nil {
				return
			}
			haproxy, nginx := oracles[0].made[c], oracles[1].made[c]
			others := haproxy.Common()
			differs := others == nginx.Common() && others != std.Common()
			switch {
			case differs && c.Differs == "":
				t.Errorf("%sHAProxy and nginx agree on another meaning\n--- they\n%s--- Roost\n%s", where, others, std.Common())
			case !differs && c.Differs != "":
				t.Errorf("%sis said to differ from HAProxy and nginx, which do not agree, or agree with it\n--- HAProxy\n%s--- nginx\n%s--- Roost\n%s",
					where, others, nginx.Common(), std.Common())
			}
		})
	}
	if *update {
		for f, text := range texts {
			if err := os.WriteFile(f, []byte(differ.Rewrite(text, want[f])), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	t.Run("cut everywhere", func(t *testing.T) { cutEverywhere(t, cases, roosts) })
}

// cutEverywhere cuts what clients send in two, which changes nothing; and cuts short what clients and nodes say, which both
// engines take for the same.
func cutEverywhere(t *testing.T, cases []*differ.Case, roosts []*subject) {
	ways := map[string]func(*differ.Case, int) (*differ.Case, bool){
		"in two": (*differ.Case).Cut, "short": (*differ.Case).Short, "answer short": (*differ.Case).Broken}
	made := make([]map[string]string, len(roosts))
	var all sync.WaitGroup
	for r, s := range roosts {
		made[r] = map[string]string{}
		all.Go(func() {
			for _, c := range cases {
				for way, cut := range ways {
					for i := 1; c.Splits; i++ {
						now, ok := cut(c, i)
						if !ok {
							break
						}
						m, err := s.run(now)
						where := fmt.Sprintf("%s, cut %s at %d", c.Name, way, i)
						if amiss := m.Amiss(); err != nil || amiss != "" {
							t.Errorf("%s: %s: %v %s", s.name, where, err, amiss)
						}
						if way == "in two" && m.Exact() != s.made[c].Exact() {
							t.Errorf("%s: %s\n--- is\n%s--- whole\n%s", s.name, where, m.Exact(), s.made[c].Exact())
						}
						made[r][where] = m.Exact()
					}
				}
			}
		})
	}
	all.Wait()
	for r, s := range roosts {
		for where, got := range made[r] {
			if want := made[0][where]; got != want {
				t.Errorf("%s: the engines differ\n--- std\n%s--- %s\n%s", where, want, s.name, got)
			}
		}
	}
}
