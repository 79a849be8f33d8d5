package control

import (
	"fmt"
	"testing"

	"roost"
)

// thousand is a world with one pool of a thousand nodes, settled.
func thousand(b *testing.B) (*World, int64) {
	cfg := twoNodes(1)
	p := &cfg.Pools[0]
	p.Intent.Nodes = nil
	for i := range 1000 {
		p.Intent.Nodes = append(p.Intent.Nodes, roost.Node{ID: roost.NodeID(fmt.Sprintf("n%d", i)), Addr: fmt.Sprintf("10.0.%d.%d:80", i>>8, i&255), Weight: roost.WeightOne})
	}
	w := NewWorld(roost.Incarnation{1})
	w.Step(0, Configured{cfg})
	return w, int64(gentleGap)
}

func BenchmarkTickOf1000Nodes(b *testing.B) {
	w, now := thousand(b)
	for b.Loop() {
		now += int64(tickEvery)
		w.Step(now, Tick{})
	}
}

func BenchmarkProbeThatChangesNothing(b *testing.B) {
	w, now := thousand(b)
	e := Probed{roost.ProbeResult{Pool: "fn", Node: "n7", Addr: "10.0.0.7:80", OK: true}}
	w.Step(now, e)
	for b.Loop() {
		w.Step(now, e)
	}
}

func BenchmarkDeathAndReturnOf1000Nodes(b *testing.B) {
	w, now := thousand(b)
	e := Probed{roost.ProbeResult{Pool: "fn", Node: "n7", Addr: "10.0.0.7:80", Reason: "connect: connection refused"}}
	for b.Loop() {
		now += int64(gentleGap)
		e.OK = !e.OK
		w.Step(now, e)
	}
}

// BenchmarkEditAmong1000Nodes drains a node and takes it back: the table is built anew each time.
func BenchmarkEditAmong1000Nodes(b *testing.B) {
	w, now := thousand(b)
	for i := 0; b.Loop(); i++ {
		w.Step(now, Edited{holding(i, roost.Draining)})
	}
}

// BenchmarkDeadlineAmong1000Nodes takes a drained node down and back: no table changes.
func BenchmarkDeadlineAmong1000Nodes(b *testing.B) {
	w, now := thousand(b)
	w.Step(now, Edited{holding(0, roost.Draining)})
	for i := 0; b.Loop(); i++ {
		w.Step(now, Edited{holding(0, roost.Draining+roost.HoldKind(i%2))})
	}
}

// holding are edits that hold a node, every other time.
func holding(i int, kind roost.HoldKind) *roost.Edits {
	e := &roost.Edits{Rev: uint64(i), Pools: map[roost.PoolID]roost.PoolEdits{}}
	if i%2 == 0 {
		e.Pools["fn"] = roost.PoolEdits{Holds: map[roost.NodeID]roost.Hold{"n7": {Kind: kind, Cause: "operator"}}}
	}
	return e
}
