package explain_test

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"

	"roost"
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

func TestAnswersAreTheSameAsBefore(t *testing.T) {
	busy := &roost.Status{Pools: []roost.PoolStatus{{ID: "fn", Epoch: "1.1.9-abcdef01", Digest: "5dd92f782954", InFlight: 30, Nodes: []roost.NodeStatus{
		{ID: "a", Verdict: "well", Duty: "up", Effective: 1, InFlight: 30}, {ID: "b", Verdict: "dead", Duty: "up"},
		{ID: "c", Verdict: "well", Duty: "up", Effective: 1}}}}}
	for _, c := range []struct {
		name string
		q    explain.Request
		live *roost.Status
	}{
		{"capture", explain.Request{URL: "/r/app/hello"}, nil},
		{"pin", explain.Request{URL: "http://x/r/billing/report?x=1"}, nil},
		{"template", explain.Request{URL: "/rooms/7", Fields: []string{"x-org: acme"}}, nil},
		{"unverified", explain.Request{URL: "/rooms/7", Fields: []string{"Authorization: Bearer e30.eyJvcmciOnsiaWQiOiJhY21lIn19.x"}}, nil},
		{"missing", explain.Request{URL: "/rooms/7"}, nil},
		{"no-route", explain.Request{URL: "/elsewhere"}, nil},
		{"no-key", explain.Request{URL: "/free/x"}, nil},
		{"live", explain.Request{URL: "/r/app/hello"}, busy},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.q.Client = netip.MustParseAddr("192.0.2.1")
			a, err := explain.Explain(snapshot(t), c.live, c.q)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			a.Text(&got)
			golden := "testdata/" + c.name + ".golden"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got.Bytes(), want)
			}
		})
	}
}

func TestARequestThatCannotBeReadSaysWhichPart(t *testing.T) {
	for _, c := range []struct {
		q    explain.Request
		want string
	}{
		{explain.Request{URL: "no-slash"}, "give http://host/path or /path"},
		{explain.Request{URL: "http://[::1/"}, "read URL"},
		{explain.Request{URL: "mailto:x@y"}, "give http://host/path or /path"},
		{explain.Request{URL: "/x", Fields: []string{"no colon"}}, "Name: value"},
		{explain.Request{URL: "/x", Listener: "nope"}, `no listener "nope"`},
	} {
		_, err := explain.Explain(snapshot(t), nil, c.q)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.q, err, c.want)
		}
	}
}
