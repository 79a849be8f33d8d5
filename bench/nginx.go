package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// nginx: as installed, but connections are kept without end, and posted bodies in memory: its 8 KiB would spool them to
// a file and then wait 40 ms for Nagle's algorithm. Tuned: 64 KiB buffers and no buffering of whole bodies.
func nginx(s setup) ([]string, map[string]string, []string) {
	var b strings.Builder
	if s.root {
		b.WriteString("user root;\n")
	}
	if module, dynamic := streamModule(s.said); s.c.Front == Relay && dynamic {
		fmt.Fprintf(&b, "load_module %s;\n", module)
	}
	fmt.Fprintf(&b, "daemon off;\nworker_processes %d;\nworker_rlimit_nofile %d;\npid %s;\nerror_log stderr crit;\nevents { worker_connections %d; }\n",
		s.c.Threads, s.files, filepath.Join(s.dir, "nginx.pid"), nginxConns(s))
	listen := fmt.Sprintf("127.0.0.1:%d", s.port)
	if s.c.Front == TLS {
		listen += " ssl"
	}
	if s.c.Threads > 1 {
		listen += " reuseport" // else one worker may get all connections
	}
	if s.c.Front == Relay {
		nginxStream(&b, s, listen)
	} else {
		nginxHTTP(&b, s, listen)
	}
	conf := filepath.Join(s.dir, "nginx.conf")
	return []string{"-e", "stderr", "-p", s.dir, "-c", conf}, map[string]string{conf: b.String()}, nil
}

// nginxConns is what one worker may have: connections to nodes count, and no worker gets exactly its share of clients.
func nginxConns(s setup) int {
	if s.c.Kind == Flooded {
		return s.conns() / s.c.Threads // the nearest thing to a limit that it has
	}
	return 2 * s.conns()
}

func nginxStream(b *strings.Builder, s setup, listen string) {
	b.WriteString("stream {\n  upstream nodes {\n    hash $remote_addr consistent;\n")
	for _, port := range s.nodes {
		fmt.Fprintf(b, "    server 127.0.0.1:%d;\n", port)
	}
	b.WriteString("  }\n")
	if s.tuned {
		b.WriteString("  proxy_buffer_size 64k;\n")
	}
	fmt.Fprintf(b, "  server {\n    listen %s;\n    proxy_pass nodes;\n  }\n}\n", listen)
}

func nginxHTTP(b *strings.Builder, s setup, listen string) {
	b.WriteString("http {\n  access_log off;\n  keepalive_requests 1000000000;\n  client_body_buffer_size 64k;\n")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(b, "  %s_temp_path %s;\n", kind, filepath.Join(s.dir, kind))
	}
	if s.c.Front == TLS {
		fmt.Fprintf(b, "  ssl_certificate %s;\n  ssl_certificate_key %s;\n  ssl_protocols TLSv1.3;\n  ssl_conf_command Ciphersuites %s;\n",
			s.tls.cert, s.tls.key, suite)
	}
	if s.tuned {
		b.WriteString("  proxy_buffering off;\n  proxy_request_buffering off;\n  proxy_buffer_size 64k;\n  proxy_buffers 8 64k;\n" +
			"  proxy_busy_buffers_size 128k;\n")
	}
	connection := `""`
	if s.c.Upgrade {
		b.WriteString("  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n")
		connection = "$connection_upgrade;\n      proxy_set_header Upgrade $http_upgrade"
	}
	b.WriteString("  upstream nodes {\n    hash $http_x_key consistent;\n")
	for _, port := range s.nodes {
		fmt.Fprintf(b, "    server 127.0.0.1:%d;\n", port)
	}
	fmt.Fprintf(b, `    keepalive 512;
    keepalive_requests 1000000000;
  }
  server {
    listen %s;
    location / {
      proxy_pass http://nodes;
      proxy_http_version 1.1;
      proxy_set_header Connection %s;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }
}
`, listen, connection)
}

// streamModule finds in the words of nginx -V where the module for TCP is; not dynamic: it is built in, or there is none.
func streamModule(said string) (path string, dynamic bool) {
	prefix, modules := "/usr/local/nginx", ""
	for _, word := range strings.Fields(said) {
		if v, ok := strings.CutPrefix(word, "--prefix="); ok {
			prefix = v
		}
		if v, ok := strings.CutPrefix(word, "--modules-path="); ok {
			modules = v
		}
		dynamic = dynamic || word == "--with-stream=dynamic"
	}
	if modules == "" {
		modules = filepath.Join(prefix, "modules")
	}
	return filepath.Join(modules, "ngx_stream_module.so"), dynamic
}

func nginxLacks(said string, c Case) string {
	if c.Front != Relay {
		return ""
	}
	path, dynamic := streamModule(said)
	if !dynamic && !slices.Contains(strings.Fields(said), "--with-stream") {
		return "it is built without its stream module"
	}
	if _, err := os.Stat(path); dynamic && err != nil {
		return "its stream module is not installed (Debian: libnginx-mod-stream)"
	}
	return ""
}
