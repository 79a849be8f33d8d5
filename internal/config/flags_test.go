package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"roost"
)

func TestFlagsMeanWhatTheFileMeans(t *testing.T) {
	w := testWorld(t)
	flags := Flags{Listen: []string{":80", "unix:/run/x.sock"}, Nodes: []string{"a:9001", "B=10.0.0.2:9001*2"}, HomesSet: true, Homes: 2, Key: "{header:X-Org}/{path[0]}",
		OnMissing: "client_ip", Health: "/healthz", Protocol: "h2c", TLSCert: "good.pem", TLSKey: "good.key", State: "/run/state", Store: "memory", Engine: "std", Loops: 3, Admin: "off", Socket: "/run/s.sock",
		Access: "stdout", LogLevel: "debug", LogFormat: "json"}
	w.env = nil
	got, ds := fromFlags(flags, w)
	if got == nil || len(ds) > 0 {
		t.Fatal(ds)
	}
	want := read(t, `
listeners: { web: { address: ":80", tls: true }, web2: { address: "unix:/run/x.sock", tls: true } }
routes: [ { name: default, key: "{header:X-Org}/{path[0]}", on_missing_key: client_ip } ]
pools: { default: { nodes: [ "a:9001", "B=10.0.0.2:9001*2" ], homes: 2, protocol: h2c, health: { probe: /healthz } } }
tls: { certificates: [ { cert: good.pem, key: good.key } ] }
state: /run/state
store: memory
engine: std
loops: 3
admin: { listen: off, socket: /run/s.sock }
log: { access: stdout, level: debug, format: json }
`)
	if got.Digest == want.Digest || got.Digest == (roost.Digest{}) {
		t.Errorf("digest %v", got.Digest)
	}
	got.Digest, got.Files = want.Digest, want.Files
	for i := range want.Pools[0].Intent.Nodes {
		want.Pools[0].Intent.Nodes[i].Sources = []roost.Source{{Kind: "flag"}}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("by flags\n%+v\nby file\n%+v", got, want)
	}
}

func TestRawConnectionsHaveTheirClientsAddressAsKey(t *testing.T) {
	cfg, ds := FromFlags(Flags{Nodes: []string{"a:9001"}, Listen: []string{":1883", ":1884"}, TCP: true})
	if cfg == nil || len(ds) > 0 {
		t.Fatal(ds)
	}
	for _, l := range cfg.Listeners {
		if l.Settings.Protocol != roost.ServesTCP || l.Hello || len(l.Routes) != 1 || l.Routes[0].Keys[0].Text != "client_ip" {
			t.Errorf("%+v", l)
		}
	}
	cfg, ds = FromFlags(Flags{Nodes: []string{"a:9001"}, TCP: true, Key: "{sni}-{bytes[0:4]}"})
	if cfg == nil || len(ds) > 0 || !cfg.Listeners[0].Hello {
		t.Errorf("%+v, %v", cfg, ds)
	}
}

func TestNodesAloneSuffice(t *testing.T) {
	cfg, ds := FromFlags(Flags{Nodes: []string{"a:9001", "b:9002", "c:9003"}})
	if cfg == nil || len(ds) > 0 {
		t.Fatal(ds)
	}
	if cfg.Listeners[0].Address != ":8080" || len(cfg.Pools[0].Intent.Nodes) != 3 || cfg.Routes[0].Keys[0].Text != "path" || cfg.Admin.Address != "127.0.0.1:7070" {
		t.Errorf("%+v", cfg)
	}
	other, _ := FromFlags(Flags{Nodes: []string{"a:9001", "b:9002", "c:9004"}})
	if other.Digest == cfg.Digest {
		t.Error("other flags, the same digest")
	}
	key, name := ask(t, cfg, "web", "GET", "lb", "/r/a/b")
	if key != "/r/a/b" || name != "default" {
		t.Errorf("%s by %s", key, name)
	}
}

// given shows the flags that were given.
func given(f Flags) string {
	var b strings.Builder
	for v, i := reflect.ValueOf(f), 0; i < v.NumField(); i++ {
		if !v.Field(i).IsZero() {
			fmt.Fprintf(&b, " %s: %q", v.Type().Field(i).Name, fmt.Sprint(v.Field(i)))
		}
	}
	return b.String()
}

func TestBadFlagsAreNamed(t *testing.T) {
	nodes := []string{"a:9001"}
	var b bytes.Buffer
	for _, f := range []Flags{
		{},
		{Nodes: []string{""}},
		{Nodes: []string{"a:9001", "b", "a:9001", "x=c:9001*heavy", "http://d:80", "169.254.169.254:80", "\x1b[31m:80"}},
		{Nodes: nodes, Listen: []string{"8080", ":80", "0.0.0.0:80", "127.0.0.1:7070"}},
		{Nodes: nodes, Admin: "0.0.0.0:7070"},
		{Nodes: nodes, Admin: "127.0.0.1:8080"},
		{Nodes: nodes, Admin: "unix:/run/admin.sock", Socket: "unix:/run/admin.sock"},
		{Nodes: nodes, State: "off"},
		{Nodes: nodes, State: "off", Admin: "off", Store: "sqlite"},
		{Nodes: nodes, State: "/" + strings.Repeat("deep/", 20)},
		{Nodes: nodes, Socket: "/" + strings.Repeat("deep/", 22)},
		{Nodes: nodes, Listen: []string{"unix:/var/lib/roost/roost.sock"}},
		{Nodes: nodes, Key: "pth"},
		{Nodes: nodes, Key: "path", TCP: true},
		{Nodes: nodes, Key: "{header:X-Org}/{room}"},
		{Nodes: nodes, Key: "header:X Org"},
		{Nodes: nodes, HomesSet: true, Homes: 0},
		{Nodes: nodes, Homes: 5},
		{Nodes: nodes, Health: "htp", OnMissing: "rejct", Protocol: "http2", Store: "sqlit", LogLevel: "trace", LogFormat: "yaml", Access: "/nowhere/x.log"},
		{Nodes: nodes, TLSCert: "good.pem"},
		{Nodes: nodes, TLSCert: "good.pem", TLSKey: "other.key"},
		{Nodes: nodes, TLSCert: "missing.pem", TLSKey: "missing.key"},
		{Nodes: nodes, TLSCert: "expired.pem", TLSKey: "expired.key"},
		{Nodes: nodes, Key: "${HOME}"},
		{Nodes: nodes, Key: "\xe4{path}", Access: "/var/log/\xe4.log"},
	} {
		w := testWorld(t)
		w.env = nil
		cfg, ds := fromFlags(f, w)
		if len(ds) == 0 || (cfg == nil) != ds.Failed() {
			t.Errorf("%+v: %v, %v", f, cfg, ds)
		}
		for _, g := range ds {
			if g.File != "" || g.Line != 0 || g.Path == "" {
				t.Errorf("%+v", g)
			}
		}
		fmt.Fprintf(&b, "==%s\n", given(f))
		ds.Text(&b)
	}
	golden(t, "testdata/flags.golden", b.Bytes())
}
