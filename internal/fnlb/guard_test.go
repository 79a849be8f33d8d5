package fnlb

import (
	"testing"
	"time"
)

func TestATableThatLosesMostOfItsNodesIsLookedAtTwice(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	all, few, other := []string{"a", "b", "c"}, []string{"a"}, []string{"b"}
	g := guard{held: all}
	for i, step := range []struct {
		at    int
		rows  []string
		asked bool
		want  bool
	}{
		{0, all, false, true},
		{3, few, false, false},   // a doubt
		{6, few, false, false},   // 3 s are not enough
		{7, other, false, false}, // another doubt begins anew
		{9, few, false, false},
		{13, few, false, false},
		{14, few, false, true}, // as it was 5 s ago
		{17, []string{}, false, false},
		{18, few, false, true},       // it was a slip
		{20, []string{}, true, true}, // our own delete of the last one
		{21, all, false, true},
		{22, all[:2], false, true}, // a third may go at any time
		{23, append(all, "d", "e", "f"), false, true},
		{24, []string{"x"}, true, false}, // we added one, and somebody else deleted the others
		{30, []string{"x"}, false, true},
	} {
		if got := g.pass(at(step.at), step.rows, step.asked); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
