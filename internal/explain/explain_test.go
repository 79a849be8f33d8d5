package explain_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"roost"
	"roost/internal/api"
	"roost/internal/config"
	"roost/internal/control"
	"roost/internal/explain"
)

var update = flag.Bool("update", false, "rewrite golden files")

const file = `
listeners:
  web: { address: "127.0.0.1:0" }
routes:
  - { name: rooms, match: { path: "/rooms/{room}" }, key: [ "jwt:org.id", "{header:X-Org}/{room}" ], on_missing_key: reject, pool: fn }
  - { name: free, match: { path: "/free/{rest...}" }, key: none, pool: fn }
  - { name: calls, match: { path: "/r/{app}/{fn...}" }, key: "{app}/{fn}", pool: fn }
pools:
  fn:
    nodes: [ a=10.0.0.1:80, b=10.0.0.2:80, c=10.0.0.3:80 ]
    pins: { "billing/report": { nodes: [ c ] } }
`

func snapshot(t *testing.T) *roost.Snapshot {
	t.Helper()
	cfg, diags := config.Parse("test.yaml", []byte(file))
	if diags.Failed() {
		var b bytes.Buffer
		diags.Text(&b)
		t.Fatal(b.String())
	}
	snap, err := control.Assemble(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// busy is a snapshot of a balancer that runs: a has 30 requests in flight, b is dead.
func busy(t *testing.T) *roost.Snapshot {
	snap := snapshot(t)
	p := &snap.Pools[0]
	p.Live.InFlight.Store(30)
	p.Weight, p.Takers = 2*roost.WeightOne, 2
	for i := range p.Nodes {
		n := &p.Nodes[i]
		n.Verdict = roost.Well
		switch n.ID {
		case "a":
			n.Live.InFlight.Store(30)
		case "b":
			n.Verdict, n.Weight = roost.Dead, 0
			p.Liveness = &roost.Liveness{Rev: 1, Dead: []uint64{1 << i}}
		}
	}
	return snap
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name + ".golden"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestAnswersAreTheSameAsBefore(t *testing.T) {
	for _, c := range []struct {
		name string
		q    api.Request
		live bool
	}{
		{"capture", api.Request{URL: "/r/app/hello"}, false},
		{"pin", api.Request{URL: "http://x/r/billing/report?x=1"}, false},
		{"template", api.Request{URL: "/rooms/7", Fields: []string{"x-org: acme"}}, false},
		{"unverified", api.Request{URL: "/rooms/7", Fields: []string{"Authorization: Bearer e30.eyJvcmciOnsiaWQiOiJhY21lIn19.x"}}, false},
		{"missing", api.Request{URL: "/rooms/7"}, false},
		{"no-route", api.Request{URL: "/elsewhere"}, false},
		{"no-key", api.Request{URL: "/free/x"}, false},
		{"live", api.Request{URL: "/r/app/hello"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			snap := snapshot(t)
			if c.live {
				snap = busy(t)
			}
			a, err := explain.Explain(snap, c.q, c.live)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			explain.Text(&got, a)
			golden(t, c.name, got.Bytes())
		})
	}
}

func TestNothingIsCountedInTheSnapshot(t *testing.T) {
	snap := busy(t)
	p := &snap.Pools[0]
	for range 10 {
		if _, err := explain.Explain(snap, api.Request{URL: "/r/app/hello"}, true); err != nil {
			t.Fatal(err)
		}
	}
	in := p.Live.InFlight.Load()
	for i := range p.Nodes {
		in += p.Nodes[i].Live.InFlight.Load()
	}
	if in != 60 || p.Live.Budget.Tenths.Load() != 0 || p.Live.Spills.Load() != 0 {
		t.Errorf("counted: %d in flight, budget %d, %d spills", in, p.Live.Budget.Tenths.Load(), p.Live.Spills.Load())
	}
}

func TestARequestThatCannotBeReadSaysWhichPart(t *testing.T) {
	snap := snapshot(t)
	snap.Listeners = slices.Insert(snap.Listeners, 0, roost.ListenerView{}, roost.ListenerView{Name: "old", Retired: true})
	for _, c := range []struct {
		q    api.Request
		want string
	}{
		{api.Request{URL: "no-slash"}, "give http://host/path or /path"},
		{api.Request{URL: "http://[::1/"}, "read URL"},
		{api.Request{URL: "mailto:x@y"}, "give http://host/path or /path"},
		{api.Request{URL: "/x", Fields: []string{"no colon"}}, "Name: value"},
		{api.Request{URL: "/x", Listener: "nope"}, `no listener "nope"; there is web`},
		{api.Request{URL: "/x", Listener: "old"}, `no listener "old"; there is web`},
		{api.Request{URL: "/x", Client: "nobody"}, `"nobody" is not an address`},
	} {
		_, err := explain.Explain(snap, c.q, false)
		var refused *roost.ChangeError
		if !errors.As(err, &refused) || refused.Code != roost.CodeBadChange || !strings.Contains(refused.Text, c.want) {
			t.Errorf("%+v: %v, want %q", c.q, err, c.want)
		}
	}
	if a, err := explain.Explain(snap, api.Request{URL: "/r/app/hello"}, false); err != nil || a.Listener != "web" {
		t.Errorf("the first listener in use is not taken: %+v, %v", a, err)
	}
}

func TestWhereAKeyLivesIsWhatTheTableSays(t *testing.T) {
	for name, snap := range map[string]*roost.Snapshot{"key-idle": snapshot(t), "key-dead": busy(t)} {
		var got bytes.Buffer
		e := json.NewEncoder(&got)
		e.SetIndent("", "  ")
		for _, key := range []string{"app/hello", "billing/report", ""} {
			a, err := explain.Key(snap, "fn", key)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Homes)+len(a.Next) > len(snap.Pools[0].Nodes) {
				t.Errorf("%s: a node stands twice: %v, %v", key, a.Homes, a.Next)
			}
			e.Encode(a)
		}
		golden(t, name, got.Bytes())
	}
}

func TestALongKeyIsCutAsRoutesCutIt(t *testing.T) {
	snap, key := snapshot(t), strings.Repeat("k", roost.MaxKey)
	want, err := explain.Key(snap, "fn", key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := explain.Key(snap, "fn", key+"more"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s, want %s: %v", got.Hash, want.Hash, err)
	}
}

func TestATableAddsUp(t *testing.T) {
	snap := snapshot(t)
	short, err := explain.Table(snap, "fn", false)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := explain.Table(snap, "fn", true)
	if err != nil {
		t.Fatal(err)
	}
	if short.Rows != nil || len(whole.Rows) != short.Slots {
		t.Errorf("%d and %d rows of %d slots", len(short.Rows), len(whole.Rows), short.Slots)
	}
	first := map[roost.NodeID]int{}
	for slot, row := range whole.Rows {
		first[row[0]]++
		if len(row) != whole.Homes {
			t.Fatalf("slot %d has homes %v", slot, row)
		}
	}
	for _, s := range whole.Shares {
		if first[s.Node] != s.Slots || s.Weight != 1 || s.Closed {
			t.Errorf("%+v, but it is the first home of %d rows", s, first[s.Node])
		}
	}
	want := api.Pin{Key: "billing/report", Nodes: []roost.NodeID{"c"}}
	if len(whole.Pins) != 1 || whole.Pins[0].Key != want.Key || !slices.Equal(whole.Pins[0].Nodes, want.Nodes) {
		t.Errorf("pins %+v", whole.Pins)
	}
}

func TestAPoolThatIsNotThereIsRefused(t *testing.T) {
	_, noKey := explain.Key(snapshot(t), "nope", "k")
	_, noTable := explain.Table(snapshot(t), "nope", false)
	for _, err := range []error{noKey, noTable} {
		var refused *roost.ChangeError
		if !errors.As(err, &refused) || refused.Code != roost.CodeNoPool {
			t.Error(err)
		}
	}
}
