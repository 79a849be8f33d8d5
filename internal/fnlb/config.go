package fnlb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
)

// Names in the configuration that stands behind fnlb's flags.
const (
	Pool      = "fn"   // of fn's servers
	ownPool   = "fnlb" // of what this process answers itself, through its own traffic listener
	ownSocket = "own.sock"
	inSocket  = "inner.sock"
)

// longest is how long an answer may take: fnlb has no limit of its own, fn's servers do.
const longest = "24h"

// Config is the configuration that means what the flags mean, as a file of package config (JSON is YAML). dir is a
// private directory for the sockets by which this process talks to itself: /1/lb/ on the traffic's port, and answers
// whose endpoints are rewritten, are a pool of one node, this process. level is that of the log.
func (f Flags) Config(dir, level string) ([]byte, error) {
	type m = map[string]any
	own := func(name string, methods []string, path string) m {
		match := m{"listener": "web", "path": path}
		if methods != nil {
			match["methods"] = methods
		}
		return m{"name": name, "match": match, "key": "none", "on_missing_key": "balance", "pool": ownPool}
	}
	var routes []m
	if f.Shared() {
		for _, p := range []string{"nodes", "stats", "dash"} {
			routes = append(routes, own("fnlb-"+p, nil, "/1/lb/"+p))
		}
	}
	listeners := m{"web": m{"address": f.Listen, "via": "off"}}
	if f.Rewrite {
		get := []string{"GET"}
		routes = append(routes, own("fnlb-fns", get, "/v2/fns"), own("fnlb-fn", get, "/v2/fns/{id}"),
			own("fnlb-triggers", get, "/v2/triggers"), own("fnlb-trigger", get, "/v2/triggers/{id}"))
		listeners["within"] = m{"address": "unix:" + filepath.Join(dir, inSocket), "via": "off", "forwarded": "off", "http2": false}
	}
	routes = append(routes, m{"name": "fn", "key": "path", "pool": Pool})
	limits := m{"connect_timeout": "10s", "head_timeout": longest, "body_timeout": longest}
	pools := m{Pool: m{"nodes": []string{}, "limits": limits, "health": m{
		"probe": f.HC.Path, "expect": "100-599", "min_version": f.HC.MinVersion, "interval": f.HC.Interval.String(),
		"timeout": f.HC.Timeout.String(), "fall": f.HC.Unhealthy, "rise": f.HC.Healthy}}}
	if len(routes) > 1 {
		pools[ownPool] = m{"nodes": []string{"self=unix:" + filepath.Join(dir, ownSocket)}, "health": m{"probe": "none"}, "protocol": "http1"}
	}
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
