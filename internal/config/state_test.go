package config

import (
	"bytes"
	"io/fs"
	"reflect"
	"testing"

	"roost"
)

func TestStateIsWhereTheSystemKeepsIt(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		root bool
		want string
	}{
		{map[string]string{"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/home/x"}, true, "/var/lib/a"},
		{map[string]string{"STATE_DIRECTORY": "relative", "HOME": "/home/x"}, true, "/var/lib/roost"},
		{map[string]string{"XDG_STATE_HOME": "/home/x/state/", "HOME": "/home/x"}, true, "/var/lib/roost"},
		{map[string]string{"XDG_STATE_HOME": "/home/x/state/", "HOME": "/home/x"}, false, "/home/x/state/roost"},
		{map[string]string{"XDG_STATE_HOME": "state", "HOME": "/home/x"}, false, "/home/x/.local/state/roost"},
		{map[string]string{"HOME": ""}, false, ""},
		{nil, false, ""},
	} {
		got := stateDir(func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }, c.root)
		if got != c.want {
			t.Errorf("%v, root %v: %q, want %q", c.env, c.root, got, c.want)
		}
	}
}

func TestWhatIsKeptFollowsTheStateDirectoryUnlessItIsNamed(t *testing.T) {
	type kept struct{ state, store, socket, token, listen string }
	const listen = "127.0.0.1:7070"
	for text, want := range map[string]kept{
		"":                                {"/home/x", "/home/x/roost.db", "/home/x/roost.sock", "/home/x/admin.token", listen},
		"state: /srv//a/":                 {"/srv/a", "/srv/a/roost.db", "/srv/a/roost.sock", "/srv/a/admin.token", listen},
		"state: here":                     {"/etc/roost/here", "/etc/roost/here/roost.db", "/etc/roost/here/roost.sock", "/etc/roost/here/admin.token", listen},
		"store: memory":                   {"/home/x", "memory", "/home/x/roost.sock", "/home/x/admin.token", listen},
		"store: /srv/r.db":                {"/home/x", "/srv/r.db", "/home/x/roost.sock", "/home/x/admin.token", listen},
		"admin: off":                      {"/home/x", "/home/x/roost.db", "", "", ""},
		"admin: { listen: off }":          {"/home/x", "/home/x/roost.db", "/home/x/roost.sock", "/home/x/admin.token", ""},
		"admin: { socket: off }":          {"/home/x", "/home/x/roost.db", "", "/home/x/admin.token", listen},
		"admin: { socket: a, token: b }":  {"/home/x", "/home/x/roost.db", "/etc/roost/a", "/etc/roost/b", listen},
		"state: off\nadmin: off":          {"", "memory", "", "", ""},
		"state: off\nadmin: { token: b }": {"", "memory", "", "/etc/roost/b", listen},
		"state: off\nadmin: { listen: off, socket: /run/a }": {"", "memory", "/run/a", "", ""},
	} {
		w := testWorld(t)
		w.state = "/home/x"
		cfg, ds := parse("roost.yaml", []byte(text+"\npools: { fn: { nodes: [ 'a:1' ] } }\n"), w)
		if cfg == nil {
			t.Errorf("%s: %v", text, ds)
			continue
		}
		if got := (kept{cfg.State, cfg.Store, cfg.Admin.Socket, cfg.Admin.Token, cfg.Admin.Address}); got != want {
			t.Errorf("%s:\n%+v, want\n%+v", text, got, want)
		}
		w.runtime = "/run/roost"
		if cfg, _ = parse("roost.yaml", []byte(text+"\npools: { fn: { nodes: [ 'a:1' ] } }\n"), w); want.socket == want.state+"/roost.sock" {
			want.socket = "/run/roost/roost.sock"
		}
		if cfg.Admin.Socket != want.socket {
			t.Errorf("%s, with a directory for sockets: %s, want %s", text, cfg.Admin.Socket, want.socket)
		}
	}
}

func TestWithoutAHomeTheStateMustBeNamed(t *testing.T) {
	w := testWorld(t)
	w.state = ""
	pools := "\npools: { fn: { nodes: [ 'a:1' ] } }\n"
	cfg, ds := parse("roost.yaml", []byte(pools), w)
	if cfg != nil || len(ds) != 1 || ds[0].Path != "state" || ds[0].Code != CodeMissing {
		t.Errorf("%v", ds)
	}
	for _, text := range []string{"state: /srv", "state: off\nadmin: off"} {
		if cfg, ds := parse("roost.yaml", []byte(text+pools), w); cfg == nil {
			t.Errorf("%s: %v", text, ds)
		}
	}
}

func TestTheAdminListenerLeavesTheMachineOnlyWithACertificate(t *testing.T) {
	cfg := read(t, "admin: { listen: ':7070', tls: { cert: good.pem, key: good.key }, names: [ LB.Example.com., x ], open_metrics: true }\npools: { fn: { nodes: [ 'a:1' ] } }\n")
	want := roost.Admin{Address: ":7070", TLS: &roost.TLS{Certificates: []roost.CertFile{{Cert: "/etc/roost/good.pem", Key: "/etc/roost/good.key"}}, MinVersion: 0x303},
		Names: []string{"lb.example.com", "x"}, Socket: "/var/lib/roost/roost.sock", Token: "/var/lib/roost/admin.token", OpenMetrics: true}
	if !reflect.DeepEqual(cfg.Admin, want) {
		t.Errorf("%+v", cfg.Admin)
	}
	for _, address := range []string{":7070", "0.0.0.0:7070", "10.0.0.1:7070", "[::]:7070", "lb.example.com:7070"} {
		cfg, ds := parse("roost.yaml", []byte("admin: { listen: '"+address+"' }\npools: { fn: { nodes: [ 'a:1' ] } }\n"), testWorld(t))
		if cfg != nil || len(ds) != 1 || ds[0].Path != "admin.listen" || ds[0].Code != CodeForbidden {
			t.Errorf("%s: %v", address, ds)
		}
	}
}

func TestAFileOfKeysIsAReasonToReload(t *testing.T) {
	w := testWorld(t)
	text := []byte(`
routes: [ { key: [ { from: 'jwt:a', verify: [ ed.pub, both.pub ] }, { from: 'jwt:a', verify: ed.pub }, { from: 'jwt:a', secret: secret } ] } ]
pools: { fn: { nodes: [ 'a:1' ] } }
tls: { certificates: [ { cert: good.pem, key: good.key } ] }
`)
	cfg, ds := parse("conf.d/roost.yaml", text, w)
	if cfg == nil {
		t.Fatal(ds)
	}
	if want := []string{"/etc/roost/roost.yaml", "/etc/roost/ed.pub", "/etc/roost/both.pub", "/etc/roost/secret"}; !reflect.DeepEqual(cfg.Files, want) {
		t.Errorf("%q, want %q", cfg.Files, want)
	}
	read := w.read
	w.read = func(path string) ([]byte, error) {
		if path == "/etc/roost/secret" {
			return bytes.Repeat([]byte("other"), 10), nil
		}
		return read(path)
	}
	if again, _ := parse("conf.d/roost.yaml", text, w); again.Digest == cfg.Digest {
		t.Error("another secret, the same digest")
	}
	w.read = func(path string) ([]byte, error) { return nil, fs.ErrNotExist }
	if cfg, _ := parse("conf.d/roost.yaml", text, w); cfg != nil {
		t.Error("keys that cannot be read were taken")
	}
}
