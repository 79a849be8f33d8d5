package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// roost: with its defaults, but nothing is probed, kept on disk or told to operators.
func roost(s setup) ([]string, map[string]string, []string) {
	var b strings.Builder
	var env []string
	engine := strings.TrimPrefix(strings.TrimPrefix(s.name, "roost"), "-")
	if engine != "" {
		fmt.Fprintf(&b, "engine: %s\n", engine)
	}
	if engine == "std" { // which has no loops
		env = append(env, fmt.Sprintf("GOMAXPROCS=%d", s.c.Threads))
	} else {
		fmt.Fprintf(&b, "loops: %d\n", s.c.Threads)
	}
	fmt.Fprintf(&b, "listeners:\n  in:\n    address: \"127.0.0.1:%d\"\n    limits: { connections: %d }\n", s.port, s.conns())
	key := "header:X-Key"
	switch s.c.Front {
	case Relay:
		b.WriteString("    protocol: tcp\n")
		key = "client_ip"
	case TLS:
		fmt.Fprintf(&b, "    tls: { certificates: [ { cert: %q, key: %q } ], min_version: \"1.3\" }\n", s.tls.cert, s.tls.key)
	}
	fmt.Fprintf(&b, "routes: [ { key: %q } ]\npools:\n  nodes:\n    health: { probe: none }\n    nodes:\n", key)
	for _, port := range s.nodes {
		fmt.Fprintf(&b, "      - \"127.0.0.1:%d\"\n", port)
	}
	b.WriteString("state: \"off\"\nadmin: \"off\"\n")
	conf := filepath.Join(s.dir, "roost.yaml")
	return []string{"serve", "-c", conf}, map[string]string{conf: b.String()}, env
}
