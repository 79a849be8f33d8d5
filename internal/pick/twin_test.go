package pick_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"roost"
	"roost/internal/pick"
)

// twin is Begin for keys as its documentation reads, without a thought of speed.
func twin(p *roost.PoolView, k *roost.Key, t *roost.Tried) (roost.NodeRef, roost.Why, roost.Refusal) {
	w := p.Table.Walk(p.Table.Hash.Sum(k.Bytes))
	var all, homes []roost.NodeRef
	for ref, home := w.Next(); ref != roost.NoNode; ref, home = w.Next() {
		if home {
			homes = append(homes, ref)
		}
		if !slices.Contains(all, ref) {
			all = append(all, ref)
		}
	}
	keep := func(from []roost.NodeRef, is func(roost.NodeRef) bool) (out []roost.NodeRef) {
		for _, ref := range from {
			if is(ref) {
				out = append(out, ref)
			}
		}
		return out
	}
	in := func(ref roost.NodeRef) float64 { return float64(p.Nodes[ref].Live.InFlight.Load()) }
	hard := func(ref roost.NodeRef, weight uint32) bool {
		return p.Settings.MaxInFlight > 0 && in(ref) >= math.Ceil(float64(p.Settings.MaxInFlight)*float64(weight)/1000)
	}
	tried := func(ref roost.NodeRef) bool { return slices.Contains(t.Refs[:t.N], ref) }
	open := keep(all, func(r roost.NodeRef) bool { return !p.Table.Roster[r].Closed && p.Table.Roster[r].Share > 0 })

	if p.Table.Policy.Owner != roost.Shared {
		owners := keep(open, func(r roost.NodeRef) bool { return !p.Liveness.IsDead(r) })
		why := roost.WhySuccessor
		if len(owners) == 0 {
			owners, why = open, roost.WhyPanic
		} else if slices.Contains(homes, owners[0]) {
			why = roost.WhyNextHome
			if owners[0] == homes[0] {
				why = roost.WhyHome
			}
		}
		if t.N > 0 && why != roost.WhyPanic {
			why = roost.WhyRetry
		}
		switch {
		case len(owners) == 0:
			return roost.NoNode, 0, roost.RefusedEmpty
		case tried(owners[0]):
			return roost.NoNode, 0, roost.RefusedOwner
		case hard(owners[0], p.Table.Roster[owners[0]].Share):
			return roost.NoNode, 0, roost.RefusedFull
		}
		return owners[0], why, roost.NotRefused
	}

	taking := keep(all, func(r roost.NodeRef) bool { return p.Nodes[r].Weight > 0 && !p.Liveness.IsDead(r) })
	panics := len(taking) == 0
	if panics {
		taking = open
	}
	fresh := keep(taking, func(r roost.NodeRef) bool { return !tried(r) })
	held := keep(fresh, func(r roost.NodeRef) bool { return !panics && p.Nodes[r].Live.HoldUntil.Load() > now })
	fresh = keep(fresh, func(r roost.NodeRef) bool { return !slices.Contains(held, r) })
	room := keep(fresh, func(r roost.NodeRef) bool {
		weight := p.Nodes[r].Weight
		if panics {
			weight = p.Table.Roster[r].Share
		}
		return !hard(r, weight)
	})
	switch {
	case len(room) == 0 && len(fresh) > 0:
		return roost.NoNode, 0, roost.RefusedFull
	case len(room) == 0 && len(held) > 0:
		return held[0], roost.WhyPanic, roost.NotRefused
	case len(room) == 0 && len(taking) > 0:
		return roost.NoNode, 0, roost.RefusedTried
	case len(room) == 0:
		return roost.NoNode, 0, roost.RefusedEmpty
	case panics:
		return room[0], roost.WhyPanic, roost.NotRefused
	}

	a := float64(p.Live.InFlight.Load()+1) / (float64(p.Weight) / 1000)
	below := func(r roost.NodeRef) bool {
		n := &p.Nodes[r]
		limit := math.Ceil(float64(n.Weight) / 1000 * max(float64(p.Table.Policy.WalkFloor), 1.5*a, a+5*math.Sqrt(a)))
		if pressure := n.Live.Pressure(now); pressure > 0 {
			limit = math.Floor(limit * (1 - pressure))
		}
		return in(r) < limit
	}
	first := slices.IndexFunc(room, below)
	var ref roost.NodeRef
	why := roost.WhyLeast
	if first < 0 {
		ref = slices.MinFunc(room, func(x, y roost.NodeRef) int {
			busy := func(r roost.NodeRef) float64 {
				n := &p.Nodes[r]
				return (in(r)+1)/max(1, float64(n.Weight)*(1-n.Live.Pressure(now))) - 1/float64(p.Table.Roster[r].Share)
			}
			if busy(x) < busy(y) {
				return -1
			}
			if busy(x) > busy(y) {
				return 1
			}
			return 0
		})
	} else {
		ref = room[first]
		crowded := slices.ContainsFunc(homes, func(r roost.NodeRef) bool {
			return slices.Contains(fresh, r) && (!slices.Contains(room, r) || !below(r))
		})
		switch {
		case !slices.Contains(homes, ref) && crowded:
			why = roost.WhySpill
		case !slices.Contains(homes, ref):
			why = roost.WhySuccessor
		case ref == homes[0]:
			why = roost.WhyHome
		default:
			why = roost.WhyNextHome
		}
	}
	if t.N > 0 {
		why = roost.WhyRetry
	}
	return ref, why, roost.NotRefused
}

func TestBeginDoesWhatItsTwinDoes(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		policy := roost.Policy{Homes: uint8(1 + rnd.IntN(4)), WalkFloor: uint32(rnd.IntN(6))}
		if rnd.IntN(4) == 0 {
			policy.Owner = roost.Available
		}
		var weights []int
		for range 1 + rnd.IntN(14) {
			weights = append(weights, 1+rnd.IntN(3))
		}
		p := pool(t, policy, weights...)
		table := *p.Table
		table.Roster = slices.Clone(table.Roster)
		p.Table = &table
		p.Settings.MaxInFlight = rnd.IntN(3) * 4
		busy, ill := 1+rnd.IntN(12), rnd.IntN(3)
		for i := range p.Nodes {
			ref := roost.NodeRef(i)
			load(p, ref, int64(rnd.IntN(busy)))
			n := &p.Nodes[i]
			if rnd.IntN(4) == 0 {
				n.Live.Report(roost.Load{Has: true, Pressure: uint16(rnd.Uint32())}, now-rnd.Int64N(30e9))
			}
			switch r := rnd.IntN(10) - 3*ill; {
			case r < 0 && rnd.IntN(2) == 0:
				kill(p, ref)
			case r < 0:
				out(p, ref)
			case r == 0:
				n.Live.HoldUntil.Store(now + 1)
			case r == 1:
				table.Roster[i].Closed = true
				out(p, ref)
			case r == 2:
				n.Weight, p.Weight = n.Weight/2, p.Weight-uint64(n.Weight/2)
			}
		}
		for i := range 50 {
			k := key(fmt.Sprint(i))
			var tried roost.Tried
			for range rnd.IntN(4) {
				tried.Add(roost.NodeRef(rnd.IntN(len(p.Nodes))))
			}
			before := tried
			node, why, refusal := twin(p, k, &before)
			a, got := pick.Begin(p, k, &tried, rnd.Uint64(), now)
			if got != refusal || got == roost.NotRefused && (a.Node != node || a.Why != why) {
				t.Fatalf("seed %d key %d: node %d, %v, %v; the twin: node %d, %v, %v", seed, i, a.Node, a.Why, got, node, why, refusal)
			}
			seen[a.Why.String()+" "+got.String()]++
			if got == roost.NotRefused && rnd.IntN(3) > 0 {
				pick.End(&a)
			}
		}
	}
	t.Log(seen)
	for _, why := range []string{"home none", "next_home none", "successor none", "spill none", "least none", "retry none",
		"panic none", "none pool_full", "none all_tried", "none owner_unreachable"} {
		if seen[why] == 0 {
			t.Errorf("never seen: %s", why)
		}
	}
}
