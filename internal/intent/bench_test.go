package intent

import (
	"fmt"
	"testing"

	"roost"
)

// crowd is a pool of a thousand nodes, half of them listed by fnlb's table too, with a hundred edits.
func crowd() (*roost.Config, *roost.Edits, []roost.Listing) {
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("n%d=10.0.%d.%d:80", i, i>>8, i&255))
	}
	p := roost.PoolEdits{Weights: map[roost.NodeID]uint32{}, Holds: map[roost.NodeID]roost.Hold{}}
	for i := range 50 {
		p.Weights[roost.NodeID(fmt.Sprintf("n%d", i))] = 500
		p.Holds[roost.NodeID(fmt.Sprintf("n%d", i))] = roost.Hold{Kind: roost.Draining}
	}
	return one(names...), edits(p), []roost.Listing{listing("lb_nodes", names[500:]...)}
}

func BenchmarkMergeOf1000Nodes(b *testing.B) {
	cfg, e, listed := crowd()
	for b.Loop() {
		Merge(cfg, e, listed, 0)
	}
}

func BenchmarkApplyAmong1000Nodes(b *testing.B) {
	cfg, e, listed := crowd()
	for b.Loop() {
		if _, err := Apply(cfg, e, listed, roost.SetWeight{Pool: "fn", Node: "n77", Weight: 2000}); err != nil {
			b.Fatal(err)
		}
	}
}
