package config

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"roost"
)

// roundTrip reads the effective configuration of cfg again and wants the same. It returns what differs, or "".
func roundTrip(cfg *roost.Config, w world) string {
	again, ds := parse("roost.yaml", cfg.Effective, w)
	if again == nil {
		var b bytes.Buffer
		ds.Text(&b)
		return "the effective configuration is refused:\n" + b.String()
	}
	if !bytes.Equal(again.Effective, cfg.Effective) {
		return "the effective configuration of the effective configuration is another:\n" + string(again.Effective)
	}
	if !reflect.DeepEqual(meaning(again), meaning(cfg)) {
		return "the effective configuration means something else"
	}
	return ""
}

// meaning is a configuration without what says where it came from.
func meaning(cfg *roost.Config) *roost.Config {
	c := *cfg
	c.Digest, c.Effective, c.Files = roost.Digest{}, nil, nil
	c.Pools = nil
	for _, p := range cfg.Pools {
		nodes := p.Intent.Nodes
		p.Intent.Nodes = nil
		for _, n := range nodes {
			n.Sources = nil
			p.Intent.Nodes = append(p.Intent.Nodes, n)
		}
		c.Pools = append(c.Pools, p)
	}
	return &c
}

func TestTheEffectiveConfigurationHasEveryDefaultAndMeansTheSame(t *testing.T) {
	w := testWorld(t)
	for _, name := range []string{"small", "large"} {
		text, err := os.ReadFile("testdata/effective/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		cfg, ds := parse("roost.yaml", text, w)
		if cfg == nil {
			t.Fatal(ds)
		}
		if amiss := roundTrip(cfg, w); amiss != "" {
			t.Errorf("%s: %s", name, amiss)
		}
		golden(t, "testdata/effective/"+name+".golden", cfg.Effective)
	}
}

func TestEveryExampleMeansTheSameAsItsEffectiveConfiguration(t *testing.T) {
	for _, name := range examples(t) {
		cfg, ds, err := Load(name)
		if cfg == nil {
			t.Fatal(ds, err)
		}
		if amiss := roundTrip(cfg, realWorld("/nowhere")); amiss != "" {
			t.Errorf("%s: %s", filepath.Base(name), amiss)
		}
	}
}

// TestAnyPartOfAFileMeansTheSameAsItsEffectiveConfiguration takes settings out of a file that has them all, in many ways:
// what is left out is a default, alone and beside others.
func TestAnyPartOfAFileMeansTheSameAsItsEffectiveConfiguration(t *testing.T) {
	w := testWorld(t)
	text, err := os.ReadFile("testdata/effective/large.yaml")
	if err != nil {
		t.Fatal(err)
	}
	taken, rng := 0, rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var doc yaml.Node
		if err := yaml.Load(text, &doc); err != nil {
			t.Fatal(err)
		}
		thin(&doc, rng, rng.Float64()/14)
		part, err := yaml.Dump(&doc)
		if err != nil {
			t.Fatal(err)
		}
		cfg, _ := parse("roost.yaml", part, w)
		if cfg == nil {
			continue // something else needs what was taken out
		}
		taken++
		if amiss := roundTrip(cfg, w); amiss != "" {
			t.Fatalf("%s\nof\n%s", amiss, part)
		}
	}
	if taken < 50 {
		t.Errorf("only %d of 200 files could be used", taken)
	}
}

// thin leaves out a share of all settings and items.
func thin(n *yaml.Node, rng *rand.Rand, share float64) {
	step := 1
	if n.Kind == yaml.MappingNode {
		step = 2
	}
	var kept []*yaml.Node
	for i := 0; i < len(n.Content); i += step {
		if n.Kind == yaml.DocumentNode || rng.Float64() >= share {
			thin(n.Content[i+step-1], rng, share)
			kept = append(kept, n.Content[i:i+step]...)
		}
	}
	n.Content = kept
}

func TestFlagsHaveAnEffectiveConfiguration(t *testing.T) {
	w := testWorld(t)
	byFile := w
	w.env = nil
	for _, f := range []Flags{
		{Nodes: []string{"a:9001", "B=10.0.0.2:9001*2"}},
		{State: off, Admin: off, Socket: "rel.sock", Access: "access.log"},
		{Nodes: []string{"a:9001"}, Listen: []string{":80", "unix:/run/${x}.sock"}, Key: "{header:X-Org}/{path}", Health: "/${VERSION}", TLSCert: "good.pem", TLSKey: "good.key",
			Homes: 2, Store: "./r.db"},
	} {
		cfg, ds := fromFlags(f, w)
		if cfg == nil {
			t.Fatal(ds)
		}
		if amiss := roundTrip(cfg, byFile); amiss != "" {
			t.Errorf("%+v: %s\n%s", f, amiss, cfg.Effective)
		}
	}
}

func TestTheEffectiveConfigurationShowsNoSecret(t *testing.T) {
	w := testWorld(t)
	cfg, ds := parse("roost.yaml", []byte("routes: [ { key: { from: 'jwt:org', secret: secret } } ]\npools: { fn: { nodes: [ 'a:1' ] } }\n"), w)
	if cfg == nil {
		t.Fatal(ds)
	}
	secret, err := w.read("/etc/roost/secret")
	if err != nil || bytes.Contains(cfg.Effective, secret) {
		t.Errorf("%v\n%s", err, cfg.Effective)
	}
	if !strings.Contains(string(cfg.Effective), "secret: /etc/roost/secret # ") {
		t.Errorf("nothing says where the secret is:\n%s", cfg.Effective)
	}
}
