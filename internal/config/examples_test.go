package config

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"roost"
	"roost/internal/pki/pkitest"
	"roost/internal/route"
)

// examples copies the examples to a directory of their own and puts the certificates and keys beside them that they
// name.
func examples(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	names, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(names) < 5 {
		t.Fatalf("%v, %v", names, err)
	}
	write := func(name string, text []byte) string {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	ca := pkitest.New(t, "ca")
	for _, host := range []string{"example.com", "example.org"} {
		leaf := ca.Issue(t, nil, host)
		write("certs/"+host+".pem", leaf.PEM)
		write("certs/"+host+".key", leaf.KeyPEM)
		write("certs/"+host+".ocsp", leaf.Staple(t, pkitest.Good, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)))
	}
	write("certs/clients.pem", ca.PEM)
	write("certs/nodes.pem", ca.PEM)
	write("keys/ticket.new", []byte(strings.Repeat("0123456789", 8)))
	write("keys/ticket.old", []byte(strings.Repeat("012345", 8)))
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	write("keys/idp.pem", public(t, pub))
	write("keys/idp.jwks", fmt.Appendf(nil, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","use":"sig","x":%q}]}`, base64.RawURLEncoding.EncodeToString(pub)))
	write("keys/hmac.secret", bytes.Repeat([]byte("k"), 32))
	var copies []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		copies = append(copies, write(filepath.Base(name), text))
	}
	return copies
}

func TestEveryExampleLoads(t *testing.T) {
	for _, name := range examples(t) {
		cfg, ds, err := Load(name)
		if err != nil || len(ds) > 0 {
			var b bytes.Buffer
			ds.Text(&b)
			t.Errorf("%v\n%s", err, b.String())
			continue
		}
		for i, l := range cfg.Listeners {
			if len(l.Routes) == 0 {
				t.Errorf("%s: listener %s has no routes", filepath.Base(name), l.Name)
			}
			for _, r := range l.Routes {
				if cfg.Pools[r.Pool].ID != r.PoolID {
					t.Errorf("%s: listener %d: route %s leads to pool %d, which is not %s", filepath.Base(name), i, r.Name, r.Pool, r.PoolID)
				}
			}
		}
	}
}

// TestTheFullExampleHasEverySetting walks the file and ticks off what it finds.
func TestTheFullExampleHasEverySetting(t *testing.T) {
	text, err := os.ReadFile("../../examples/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Load(text, &doc); err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		written[regexp.MustCompile(`\[\]$`).ReplaceAllString(path, "")] = true
		for i, c := range n.Content {
			switch n.Kind {
			case yaml.DocumentNode:
				walk(c, path)
			case yaml.SequenceNode:
				walk(c, path+"[]")
			case yaml.MappingNode:
				if i%2 == 1 {
					walk(c, join(path, n.Content[i-1].Value))
				}
			}
		}
	}
	walk(&doc, "")
	for _, s := range settings() {
		// A name of one's own stands for NAME; one key may stand for a list.
		expr := strings.NewReplacer(`\.NAME`, `\.[^.]+`, `\.KEY`, `\.[^.]+`, `routes\[\]\.key\.`, `routes\[\]\.key(\[\])?\.`).Replace(regexp.QuoteMeta(s.name))
		found := false
		for path := range written {
			found = found || regexp.MustCompile("^"+expr+"$").MatchString(path)
		}
		if !found {
			t.Errorf("examples/full.yaml does not have %s", s.name)
		}
	}
}

// TestExamplesDoWhatTheySay sends requests through the routes of the examples.
func TestExamplesDoWhatTheySay(t *testing.T) {
	configs := map[string]*roost.Config{}
	for _, name := range examples(t) {
		cfg, _, err := Load(name)
		if err != nil || cfg == nil {
			t.Fatal(name, err)
		}
		configs[strings.TrimSuffix(filepath.Base(name), ".yaml")] = cfg
	}
	for _, c := range []struct {
		file, listener, method, host, target, fields string
		route, key                                   string // "" no key
	}{
		{"minimal", "web", "GET", "lb", "/r/a/b?x", "", "fn", "/r/a/b"},
		{"functions", "web", "POST", "lb", "/r/myapp/hello/world?x", "", "routes", "myapp/hello/world"},
		{"functions", "web", "GET", "lb", "/t/myapp/go", "", "triggers", "myapp/go"},
		{"functions", "web", "POST", "lb", "/invoke/01D7", "", "invoke", "01D7"},
		{"functions", "web", "GET", "lb", "/invoke/01D7", "", "api", ""},
		{"functions", "web", "GET", "lb", "/v2/apps", "", "api", ""},
		{"rooms", "web", "GET", "chat", "/rooms/7/ws", "", "rooms", "7"},
		{"rooms", "web", "GET", "a.example.com", "/ws?org=q", "X-Org: h", "tenants", "h"},
		{"rooms", "web", "GET", "a.example.com", "/ws?org=q", "Cookie: org=acme!", "tenants", "acme"},
		{"rooms", "web", "GET", "a.example.com", "/ws?org=q", "Cookie: session=a.eyJvcmdfaWQiOiJqIn0.c", "tenants", "j"},
		{"rooms", "web", "GET", "a.example.com", "/ws?org=q", "", "tenants", "q"},
		{"rooms", "web", "GET", "a.example.com", "/ws", "", "tenants", "192.0.2.1"},
		{"rooms", "web", "GET", "a.example.com", "/", "", "pages", "/"},
		{"tls", "secure", "GET", "Example.com:8443", "/x", "", "web", "example.com/x"},
		{"tls", "plain", "GET", "example.com", "/.well-known/acme-challenge/t", "", "acme", "t"},
		{"tls", "plain", "GET", "example.com", "/x", "", "none", ""},
		{"tls", "devices", "GET", "example.com", "/x", "", "devices", "acme"},
		{"full", "edge", "GET", "a.example.com", "/r/a/b", "X-Stage: live|X-Request-Id: 1", "functions", "a/b"},
		{"full", "inner", "GET", "a.example.com", "/r/a/b?room=1", "X-Stage: live|X-Request-Id: 1|X-Org: o", "rooms", "o-1"},
		{"full", "edge", "GET", "a.example.com", "/r/a/b", "X-Stage: live|Cookie: session=a.eyJvcmciOnsiaWQiOiJvcmctMSJ9fQ.c", "rooms", "192.0.2.1"}, // forged
	} {
		key, name := ask(t, configs[c.file], c.listener, c.method, c.host, c.target, strings.Split(c.fields, "|")...)
		if name != c.route || key != c.key {
			t.Errorf("%+v: route %s, key %q", c, name, key)
		}
	}
}

// ask sends a request through a listener's routes.
// The client showed a certificate of the organisation acme.
func ask(t *testing.T, cfg *roost.Config, listener, method, host, target string, fields ...string) (key, name string) {
	t.Helper()
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		if l.Name != listener {
			continue
		}
		r := &roost.Request{Method: method, Host: host, Target: target, Client: addr("192.0.2.1"), Cert: &roost.CertNames{Orgs: []string{"acme"}}}
		for _, f := range fields {
			field, value, _ := strings.Cut(f, ": ")
			for i, w := range l.Want {
				if strings.EqualFold(w, field) {
					r.Want[i], r.Has = value, r.Has|1<<i
				}
			}
		}
		rt := route.Match(&roost.ListenerView{Routes: l.Routes, Want: l.Want}, r)
		if rt == nil {
			return "", "none"
		}
		k, _ := route.Extract(rt, r, nil, time.Now().Unix())
		return string(k), rt.Name
	}
	t.Fatalf("no listener %s", listener)
	return "", ""
}
