package std

import (
	"testing"
)

func TestAGateWaitsForThoseThatAnInsiderLetIn(t *testing.T) {
	var g gate
	g.empty.L = &g.mu
	g.enter()
	g.shut = true
	g.also()
	g.leave()
	if g.in != 1 || g.enter() {
		t.Errorf("%d inside", g.in)
	}
}
