package explain_test

import (
	"slices"
	"strings"
	"testing"

	"roost/internal/api"
	"roost/internal/config"
	"roost/internal/control"
	"roost/internal/explain"
)

func TestARawConnectionIsExplainedByTheNameThatItAsksFor(t *testing.T) {
	cfg, diags := config.Parse("test.yaml", []byte(`
listeners: { mqtt: { address: ":8883", protocol: tcp } }
routes:
  - { name: eu, match: { host: "*.eu.example" }, key: sni, pool: p }
  - { name: sites, match: { host: sites.example }, key: 'bytes_until:\n', pool: p }
pools: { p: { nodes: [ "a:1883", "b:1883" ] } }
`))
	if cfg == nil {
		t.Fatal(diags)
	}
	snap, err := control.Assemble(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ url, route, key, note string }{
		{"tls://D7.eu.example:8883", "eu", "d7.eu.example", ""},
		{"tls://sites.example", "sites", "", "first bytes, which are not known here"},
		{"tls://example.org", "", "", "no route matches; the connection is closed, as no_route"},
	} {
		a, err := explain.Explain(snap, api.Request{URL: c.url}, false)
		if err != nil || a.Route != c.route || a.Key != c.key || !strings.Contains(strings.Join(a.Notes, "\n"), c.note) {
			t.Errorf("%s: %+v, %v", c.url, a, err)
		}
	}
}

func TestAKeyOfTheClientsCertificateIsSaidToBeUnknown(t *testing.T) {
	cfg, diags := config.Parse("test.yaml", []byte(`
routes: [ { match: { path: /devices }, key: [ "header:X-Device", "cert:cn" ], on_missing_key: reject }, { key: path } ]
pools: { p: { nodes: [ "a:80" ] } }
`))
	if cfg == nil {
		t.Fatal(diags)
	}
	snap, err := control.Assemble(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const note = "the key is made of the client's certificate, which is not known here"
	for _, c := range []struct {
		q    api.Request
		want bool
	}{{api.Request{URL: "/devices"}, true}, {api.Request{URL: "/devices", Fields: []string{"X-Device: 7"}}, false}, {api.Request{URL: "/"}, false}} {
		a, err := explain.Explain(snap, c.q, false)
		if err != nil || slices.Contains(a.Notes, note) != c.want {
			t.Errorf("%+v: %+v, %v", c.q, a, err)
		}
	}
}
