package fnlb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
)

// Names in the configuration that stands behind fnlb's flags.
const (
	Pool      = "fn"        // of fn's servers
	ownPool   = "fnlb"      // of this process, for its API
	rewriters = "endpoints" // of this process, for answers that it rewrites
	mgmt      = "mgmt"
)

// longest is how long an answer may take: fnlb has no limit of its own, fn's servers do.
const longest = "24h"

// Sockets are the unix sockets by which this process talks to itself: /1/lb/, and answers whose endpoints are rewritten,
// are pools of one node, this process.
type Sockets struct {
	Own     string // answers /1/lb/
	Rewrite string // asks Inner and rewrites the answer
	Inner   string // a listener of the balancer, whose only pool is that of fn's servers
}

// SocketsIn names the sockets in dir. Those that a process opens itself have its number, because after an upgrade two
// processes live; the listener goes from one to the next.
func SocketsIn(dir string, pid int) Sockets {
	own := func(name string) string { return filepath.Join(dir, fmt.Sprintf("%s.%d.sock", name, pid)) }
	return Sockets{Own: own("own"), Rewrite: own("rewrite"), Inner: filepath.Join(dir, "inner.sock")}
}

// Config is the configuration that means what the flags mean, as a file of package config (JSON is YAML). level is that of
// the log.
func (f Flags) Config(s Sockets, level string) ([]byte, error) {
	type m = map[string]any
	var routes []m
	to := func(pool, name string, match m) {
		routes = append(routes, m{"name": name, "match": match, "key": "none", "on_missing_key": "balance", "pool": pool})
	}
	self := func(path string) m {
		return m{"nodes": []string{"self=unix:" + path}, "health": m{"probe": "none"}, "protocol": "http1"}
	}
	limits := m{"connect_timeout": "10s", "head_timeout": longest, "body_timeout": longest}
	pools := m{ownPool: self(s.Own), Pool: m{"nodes": []string{}, "limits": limits, "health": m{
		"probe": f.HC.Path, "expect": "100-599", "min_version": f.HC.MinVersion, "interval": f.HC.Interval.String(),
		"timeout": f.HC.Timeout.String(), "fall": f.HC.Unhealthy, "rise": f.HC.Healthy}}}
	listeners := m{"web": m{"address": f.Listen, "via": "off"}}
	if f.Shared() {
		for _, p := range []string{"nodes", "stats", "dash"} {
			to(ownPool, "fnlb-"+p, m{"path": "/1/lb/" + p})
		}
	} else {
		listeners[mgmt] = m{"address": f.MgmtListen, "via": "off"}
		to(ownPool, mgmt, m{"listener": mgmt})
	}
	if f.Rewrite {
		listeners["within"] = m{"address": "unix:" + s.Inner, "via": "off", "forwarded": "off", "http2": false}
		pools[rewriters] = self(s.Rewrite)
		for _, kind := range []string{"fns", "triggers"} {
			get := []string{"GET"}
			to(rewriters, kind, m{"listener": "web", "path": "/v2/" + kind, "methods": get})
			to(rewriters, kind+"-id", m{"listener": "web", "path": "/v2/" + kind + "/{id}", "methods": get})
		}
	}
	routes = append(routes, m{"name": "fn", "key": "path", "pool": Pool})
	admin := any("off")
	if f.State != "off" {
		a := m{}
		if f.Admin == "off" {
			a["listen"] = "off"
		} else {
			a["listen"] = f.Admin
		}
		admin = a
	}
	store := "memory"
	if f.State != "off" {
		store = "sqlite"
	}
	text, err := json.MarshalIndent(m{"listeners": listeners, "routes": routes, "pools": pools, "state": f.State, "store": store, "admin": admin, "log": m{"level": level}}, "", " ")
	if err != nil {
		return nil, fmt.Errorf("write the configuration behind the flags: %w", err)
	}
	return bytes.ReplaceAll(text, []byte("${"), []byte("$${")), nil // a flag's text holds no variables
}
