package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzParse: whatever the text is, it is read or refused in time, and every diagnostic points into it.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "../../examples/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	w := testWorld(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		start := time.Now()
		cfg, ds := parse("roost.yaml", text, w)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%d bytes took %v", len(text), d)
		}
		if (cfg == nil) != ds.Failed() {
			t.Fatalf("configuration %v, failed %v", cfg != nil, ds.Failed())
		}
		checkPlaces(t, text, ds)
		var b bytes.Buffer
		if err := ds.Text(&b); err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsAny(b.Bytes(), "\x1b\x00") {
			t.Fatalf("a terminal would obey %q", b.Bytes())
		}
		b.Reset()
		if err := ds.JSON(&b); err != nil || !json.Valid(b.Bytes()) {
			t.Fatalf("%v: %s", err, b.Bytes())
		}
		if cfg != nil && len(cfg.Effective) < MaxFile {
			if amiss := roundTrip(cfg, w); amiss != "" {
				t.Fatal(amiss)
			}
		}
		again, ds2 := parse("roost.yaml", text, w)
		if (again == nil) != (cfg == nil) || len(ds2) != len(ds) || cfg != nil && again.Digest != cfg.Digest {
			t.Fatal("twice, two answers")
		}
	})
}

// FuzzFlags: flags never panic, and name what is wrong.
func FuzzFlags(f *testing.F) {
	f.Add("a:9001", ":8080", "{header:X-Org}", "/healthz", "127.0.0.1:7070", "info")
	f.Add("n=[::1]:80*2", "unix:/x", "jwt:a.b", "tcp", "off", "x")
	f.Add("unix:/a=b*c", "[::1", "{{", "none", "localhost:1", "")
	w := testWorld(f)
	byFile := w
	w.env = nil
	f.Fuzz(func(t *testing.T, node, listen, key, health, admin, level string) {
		cfg, ds := fromFlags(Flags{Nodes: []string{node}, Listen: []string{listen}, Key: key, Health: health, Admin: admin, LogLevel: level}, w)
		if (cfg == nil) != ds.Failed() {
			t.Fatalf("configuration %v, failed %v", cfg != nil, ds.Failed())
		}
		for _, g := range ds {
			if g.Path == "" || g.File != "" || g.Line != 0 || g.Col < 0 || g.Col > len([]rune(g.excerpt))+1 {
				t.Fatalf("%+v", g)
			}
		}
		if cfg == nil {
			return
		}
		if amiss := roundTrip(cfg, byFile); amiss != "" {
			t.Fatal(amiss)
		}
		// What was taken is canonical: read again, it is the same.
		n := cfg.Pools[0].Intent.Nodes[0]
		again, ds := fromFlags(Flags{Nodes: []string{n.Addr}, Listen: []string{cfg.Listeners[0].Address}}, w)
		if again == nil || again.Pools[0].Intent.Nodes[0].Addr != n.Addr || again.Listeners[0].Address != cfg.Listeners[0].Address {
			t.Fatalf("%q and %q became %q and %q, which are not taken: %v", node, listen, n.Addr, cfg.Listeners[0].Address, ds)
		}
	})
}
