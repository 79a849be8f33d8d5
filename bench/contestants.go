package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// contestant is a proxy that can be measured.
type contestant struct {
	name  string
	peer  bool // Roost is compared with it
	tuned bool // a variant that runs only in cases that ask for it
	bin   string
	ask   []string // arguments that make it say its version
	// start says how to run it: arguments, files to write before (by path), and environment.
	start func(s setup) (args []string, files map[string]string, env []string)
}

// setup is one start of a contestant.
type setup struct {
	dir     string // its own, to be removed after
	port    int    // to listen on, on loopback
	nodes   []int  // ports of the upstream's servers
	threads int
	tuned   bool
	root    bool // we are root: nginx would change to a user that cannot enter dir
}

// contestants in their order within a round.
var contestants = []contestant{
	{name: "haproxy", peer: true, bin: "haproxy", ask: []string{"-v"}, start: haproxy},
	{name: "haproxy-tuned", peer: true, tuned: true, bin: "haproxy", ask: []string{"-v"}, start: haproxy},
	{name: "nginx", peer: true, bin: "nginx", ask: []string{"-v"}, start: nginx},
	{name: "nginx-tuned", peer: true, tuned: true, bin: "nginx", ask: []string{"-v"}, start: nginx},
	{name: "roost", bin: "roost", ask: []string{"version"}, start: roost},
}

func contestantNames() (names []string) {
	for _, c := range contestants {
		names = append(names, c.name)
	}
	return names
}

// haproxy: as installed, or with 64 KiB buffers and splicing for large bodies.
func haproxy(s setup) ([]string, map[string]string, []string) {
	var b strings.Builder
	fmt.Fprintf(&b, "global\n  nbthread %d\n  maxconn 4096\n", s.threads)
	if s.tuned {
		b.WriteString("  tune.bufsize 65536\n  tune.pipesize 262144\n")
	}
	b.WriteString(`defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
`)
	if s.tuned {
		b.WriteString("  option splice-auto\n")
	}
	fmt.Fprintf(&b, "frontend in\n  bind 127.0.0.1:%d\n  default_backend nodes\n", s.port)
	b.WriteString("backend nodes\n  balance hdr(X-Key)\n  hash-type consistent\n")
	for i, port := range s.nodes {
		fmt.Fprintf(&b, "  server n%d 127.0.0.1:%d\n", i, port)
	}
	conf := filepath.Join(s.dir, "haproxy.cfg")
	return []string{"-db", "-f", conf}, map[string]string{conf: b.String()}, nil
}

// nginx: as installed, but connections are kept without end, and posted bodies in memory: its 8 KiB would spool them to
// a file and then wait 40 ms for Nagle's algorithm. Tuned: 64 KiB buffers and no buffering of whole bodies.
func nginx(s setup) ([]string, map[string]string, []string) {
	var b strings.Builder
	if s.root {
		b.WriteString("user root;\n")
	}
	fmt.Fprintf(&b, "daemon off;\nworker_processes %d;\npid %s;\nerror_log stderr crit;\n", s.threads, filepath.Join(s.dir, "nginx.pid"))
	b.WriteString("events { worker_connections 8192; }\nhttp {\n  access_log off;\n  keepalive_requests 1000000000;\n" +
		"  client_body_buffer_size 64k;\n")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "  %s_temp_path %s;\n", kind, filepath.Join(s.dir, kind))
	}
	if s.tuned {
		b.WriteString("  proxy_buffering off;\n  proxy_request_buffering off;\n  proxy_buffer_size 64k;\n  proxy_buffers 8 64k;\n" +
			"  proxy_busy_buffers_size 128k;\n")
	}
	b.WriteString("  upstream nodes {\n    hash $http_x_key consistent;\n")
	for _, port := range s.nodes {
		fmt.Fprintf(&b, "    server 127.0.0.1:%d;\n", port)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", s.port)
	if s.threads > 1 {
		listen += " reuseport" // else one worker may get all connections
	}
	fmt.Fprintf(&b, `    keepalive 512;
    keepalive_requests 1000000000;
  }
  server {
    listen %s;
    location / {
      proxy_pass http://nodes;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }
}
`, listen)
	conf := filepath.Join(s.dir, "nginx.conf")
	return []string{"-e", "stderr", "-p", s.dir, "-c", conf}, map[string]string{conf: b.String()}, nil
}

// roost: by flags alone.
func roost(s setup) ([]string, map[string]string, []string) {
	var addrs []string
	for _, port := range s.nodes {
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", port))
	}
	return []string{"serve", "--listen", fmt.Sprintf("127.0.0.1:%d", s.port), "--nodes", strings.Join(addrs, ","),
		"--key", "header:X-Key", "--health", "none", "--state", "off", "--admin", "off"}, nil, []string{fmt.Sprintf("GOMAXPROCS=%d", s.threads)}
}
