package explain_test

import (
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
