package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// haproxy: as installed, or with 64 KiB buffers and splicing for large bodies.
func haproxy(s setup) ([]string, map[string]string, []string) {
	var b strings.Builder
	// It counts two descriptors for each of maxconn, and would rather not start than have fewer; here it needs one for
	// most of them.
	fmt.Fprintf(&b, "global\n  nbthread %d\n  maxconn %d\n  ulimit-n %d\n  no strict-limits\n", s.c.Threads, s.conns(), s.files)
	if s.tuned {
		b.WriteString("  tune.bufsize 65536\n  tune.pipesize 262144\n")
	}
	mode := "http"
	if s.c.Front == Relay {
		mode = "tcp"
	}
	fmt.Fprintf(&b, "defaults\n  mode %s\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n", mode)
	if s.c.Front != Relay {
		b.WriteString("  option forwardfor\n  http-reuse always\n")
	}
	if s.tuned {
		b.WriteString("  option splice-auto\n")
	}
	fmt.Fprintf(&b, "frontend in\n  bind 127.0.0.1:%d", s.port)
	if s.c.Front == TLS {
		fmt.Fprintf(&b, " ssl crt %s ssl-min-ver TLSv1.3 ciphersuites %s", s.tls.both, suite)
	}
	fmt.Fprintf(&b, "\n  maxconn %d\n  default_backend nodes\nbackend nodes\n  hash-type consistent\n", s.conns())
	if s.c.Front == Relay {
		b.WriteString("  balance source\n")
	} else {
		b.WriteString("  balance hdr(X-Key)\n")
	}
	for i, port := range s.nodes {
		fmt.Fprintf(&b, "  server n%d 127.0.0.1:%d\n", i, port)
	}
	conf := filepath.Join(s.dir, "haproxy.cfg")
	return []string{"-db", "-f", conf}, map[string]string{conf: b.String()}, nil
}

// suite is the TLS 1.3 cipher that all contestants use: the first choice of Go where the CPU knows AES.
const suite = "TLS_AES_128_GCM_SHA256"
