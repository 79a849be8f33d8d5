//go:build linux

package reactor

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"roost/internal/differ"
	"roost/internal/enginetest"
	"roost/internal/std"
)

// alone is the engine std as its contract drives it.
type alone struct{ *std.Engine }

func (alone) Upkeep(time.Time) {}
func (alone) OnDial(func())    {}

func (a alone) Stop(t testing.TB) {
	if n := a.Panics.Load(); n > 0 {
		t.Errorf("%d panics", n)
	}
}

func openStd(_ testing.TB, o enginetest.Options) enginetest.Engine {
	return alone{std.New(std.Options{Snapshot: o.Snapshot, Record: o.Record, Log: o.Log})}
}

// FuzzDifferential sends the same bytes through both engines, to a node that answers the same. Both give them the same
// meaning, however they are cut; and the node understands nothing that the client did not say.
func FuzzDifferential(f *testing.F) {
	var addrs []string
	var nodes []*differ.Node
	for _, open := range []enginetest.Open{openStd, open} {
		n, err := differ.Listen()
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(n.Close)
		nodes = append(nodes, n)
		addrs = append(addrs, enginetest.Start(f, open, nil, n.Addr).Addr)
	}
	files, err := filepath.Glob("../../e2e/testdata/differential/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal("no corpus", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		cases, err := differ.Corpus(string(text))
		if err != nil {
			f.Fatal(err)
		}
		for _, c := range cases {
			var a differ.Answer
			if len(c.Answers) > 0 {
				a = c.Answers[0]
			}
			f.Add(c.Sent(), a.Early+a.Text, uint16(len(c.Sent())/2), uint8(a.After))
		}
	}
	f.Fuzz(func(t *testing.T, request, answer string, cut uint16, after uint8) {
		if len(request) > 8<<10 || len(answer) > 8<<10 {
			return
		}
		a := differ.Answer{Text: answer, After: differ.After(after % 3)}
		switch {
		case a.Complete(request):
			a.After = differ.Stays // or it would be chance whether the next request is already on its way
		case a.After == differ.Stays:
			a.After = differ.Ends // else nothing would
		}
		c := &differ.Case{Steps: []differ.Step{{Text: request}}, Answers: []differ.Answer{a}, Hurry: after&8 != 0}
		whole := run(t, addrs[0], nodes[0], c)
		for i, addr := range addrs {
			if got := run(t, addr, nodes[i], c); got != whole {
				t.Errorf("engine %d gives it another meaning\n%s--- not\n%s", i, got, whole)
			}
			if c, ok := c.Cut(int(cut)); ok {
				if got := run(t, addr, nodes[i], c); got != whole {
					t.Errorf("engine %d gives it another meaning when it is cut\n%s--- not\n%s", i, got, whole)
				}
			}
		}
	})
}

func run(t *testing.T, addr string, n *differ.Node, c *differ.Case) string {
	m, err := differ.Run(addr, n, c)
	if err != nil {
		t.Fatal(err)
	}
	if amiss := m.Amiss(); amiss != "" {
		t.Error(amiss)
	}
	return m.Exact()
}
