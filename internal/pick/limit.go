package pick

import (
	"math"

	"roost"
)

// Limit is how many requests a node may have in flight before the next candidate of a key is asked: for a node of
// weight w (in shares)
//
//	ceil(w * max(floor, 1.5*a, a + 5*sqrt(a))), a = (requests in flight + 1) / weights, both over the pool,
//
// less the pressure that the node reported, rounded down. The factor bounds a node's load at 1.5 times the mean
// (bounded loads: Mirrokni, Thorup and Zadimoghaddam, 2018). The root keeps small pools from spilling for the chance
// unevenness of arrivals: without it 32 balancers spread a key over 4.7 nodes instead of 1.3. Floor and +1 keep an idle
// pool from spilling each call.
func Limit(p *roost.PoolView, n *roost.NodeView, now int64) int64 { return limit(base(p), n, now) }

// base is the limit of a node of weight one without pressure, not rounded.
func base(p *roost.PoolView) float64 {
	if p.Weight == 0 {
		return 0
	}
	a := float64(p.Live.InFlight.Load()+1) * roost.WeightOne / float64(p.Weight)
	return max(float64(p.Table.Policy.WalkFloor), 1.5*a, a+5*math.Sqrt(a))
}

func limit(base float64, n *roost.NodeView, now int64) int64 {
	l := math.Ceil(base * float64(n.Weight) / roost.WeightOne)
	if pressure := n.Live.Pressure(now); pressure > 0 {
		l *= 1 - pressure
	}
	return int64(l)
}

// full tells whether in requests in flight are at the hard limit of a node of a weight in thousandths.
func full(p *roost.PoolView, in int64, weight uint32) bool {
	hard := int64(p.Settings.MaxInFlight)
	return hard > 0 && in*roost.WeightOne >= hard*int64(weight)
}

// busy compares nodes: requests in flight by weight. What keeps a node from its full share (ailing, slow start,
// pressure) counts as load of its own, so that an idle pool avoids it too.
func busy(p *roost.PoolView, ref roost.NodeRef, now int64) float64 {
	n := &p.Nodes[ref]
	free := max(1, float64(n.Weight)*(1-n.Live.Pressure(now)))
	return float64(n.Live.InFlight.Load()+1)/free - 1/float64(p.Table.Roster[ref].Share)
}
