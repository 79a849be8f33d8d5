package serve

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/config"
)

func parse(t *testing.T, text string) *roost.Config {
	t.Helper()
	cfg, diags := config.Parse(t.TempDir()+"/roost.yaml", []byte(text))
	if diags.Failed() {
		var b bytes.Buffer
		diags.Text(&b)
		t.Fatal(b.String())
	}
	return cfg
}

func TestChangesAreSaidInTheWordsOfTheFile(t *testing.T) {
	was := parse(t, `
listeners: { web: { address: ":8080" }, api: { address: ":9090" } }
routes:
  - { name: a, match: { path: "/a/{x}" }, key: "{x}", pool: fn }
  - { name: b, match: { path: "/b" }, pool: fn }
  - { name: c, match: { path: "/c" }, pool: other }
pools:
  fn: { nodes: [ a=127.0.0.1:1, b=127.0.0.1:2 ], pins: { k: { nodes: [ a ] } } }
  other: { nodes: [ 127.0.0.1:3 ] }
`)
	now := parse(t, `
listeners: { front: { address: ":8080", limits: { connections: 500 } }, more: { address: ":7777" } }
routes:
  - { name: b, match: { path: "/b" }, pool: fn }
  - { name: a, match: { path: "/a/{x}" }, key: "header:X-Org", pool: fn }
  - { name: d, match: { path: "/d" }, pool: fn }
pools:
  fn: { nodes: [ a=127.0.0.1:1*2, c=127.0.0.1:4 ], homes: 2, health: { probe: /up } }
log: { level: debug }
`)
	want := []string{
		"listener :8080: name web → front",
		"listener :8080: limits.connections 10000 → 500",
		"listener :7777: added",
		"route b: listeners [web api] → [front more]",
		"route a: listeners [web api] → [front more]",
		"route a: key {x} → header:X-Org",
		"route d: added",
		"pool fn: homes 3 → 2",
		"pool fn: health.probe tcp → /up",
		"pool fn: node a: weight 1 → 2",
		"pool fn: node c: added",
		"log: level info → debug",
		"routes: they are tried in another order",
		"listener :9090: removed",
		"route c: removed",
		"pool fn: node b: removed",
		`pool fn: pin "k": removed`,
		"pool other: removed",
		"pool other: node 127.0.0.1:3: removed",
	}
	if got := changes(was, now); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := changes(was, was); got != nil {
		t.Errorf("a configuration differs from itself: %q", got)
	}
}

// Every field of the settings must show when it changes, those that are added one day included.
func TestNoSettingChangesUnsaid(t *testing.T) {
	base := func() *roost.Config {
		return &roost.Config{Listeners: []roost.Listener{{Address: ":1", TLS: &roost.TLS{}}}, Routes: []*roost.Route{{Name: "r"}},
			Pools: []roost.Pool{{ID: "p", Health: roost.HealthSettings{Kind: roost.HealthHTTP, Path: "/"}, Intent: roost.Intent{Nodes: []roost.Node{{ID: "n"}}}}}, Admin: roost.Admin{TLS: &roost.TLS{}}}
	}
	for name, of := range map[string]func(c *roost.Config) any{
		"listener": func(c *roost.Config) any { return &c.Listeners[0].Settings },
		"tls":      func(c *roost.Config) any { return c.Listeners[0].TLS },
		"match":    func(c *roost.Config) any { return &c.Routes[0].Match },
		"policy":   func(c *roost.Config) any { return &c.Pools[0].Intent.Policy },
		"health":   func(c *roost.Config) any { return &c.Pools[0].Health },
		"pool":     func(c *roost.Config) any { return &c.Pools[0].Settings },
		"admin":    func(c *roost.Config) any { return &c.Admin },
		"log":      func(c *roost.Config) any { return &c.Log },
	} {
		for i := range reflect.TypeOf(of(base())).Elem().NumField() {
			was, now := base(), base()
			into := reflect.ValueOf(of(now)).Elem()
			field := into.Type().Field(i).Name
			if field == "Path" && name == "match" { // shown as its Text
				continue
			}
			alter(t, into.Field(i))
			if len(changes(was, now)) == 0 {
				t.Errorf("%s: a change of %s is not said", name, field)
			}
		}
	}
}

// alter gives v another value than its zero.
func alter(t *testing.T, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *[]netip.Prefix:
		*x = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	case *[]roost.CertFile:
		*x = []roost.CertFile{{Cert: "c", Key: "k"}}
	case *[]roost.FieldMatch:
		*x = []roost.FieldMatch{{Name: "x"}}
	case *[][2]int:
		*x = [][2]int{{1, 2}}
	case *[]string:
		*x = []string{"x"}
	case **roost.TLS:
		*x = nil
	case **roost.NodeTLS:
		*x = &roost.NodeTLS{}
	case *roost.HealthKind:
		*x = roost.HealthNone
	case *uint16:
		*x = tls.VersionTLS13
	case *time.Duration:
		*x = time.Second
	default:
		switch v.Kind() {
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(1)
		case reflect.Uint8, reflect.Uint32:
			v.SetUint(1)
		default:
			t.Fatalf("no other value for %v", v.Type())
		}
	}
}

func TestAThousandChangesAreNotAThousandLines(t *testing.T) {
	was, now := &roost.Config{Pools: []roost.Pool{{ID: "p"}}}, &roost.Config{Pools: []roost.Pool{{ID: "p"}}}
	for i := range 1000 {
		now.Pools[0].Intent.Nodes = append(now.Pools[0].Intent.Nodes, roost.Node{ID: roost.NodeID(fmt.Sprint(i))})
	}
	got := changes(was, now)
	if len(got) != maxChanges+1 || got[maxChanges] != "and 800 more" {
		t.Errorf("%d lines, the last is %q", len(got), got[len(got)-1])
	}
}
