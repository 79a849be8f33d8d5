package serve

import (
	"fmt"
	"slices"
	"testing"

	"roost"
)

// The engine is fixed for the process, so a reload that changes it is done, and says when it counts.
func TestAChangeOfTheEngineIsForTheNextProcess(t *testing.T) {
	node, _ := echo(t, "n")
	text := fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools: { fn: { nodes: [ %s ] } }\n", node)
	h := build(t, text+"engine: std\n", houseOptions{})
	h.write(text + "engine: auto\nloops: 3\n")
	for i, changes := range [][]string{{"process: engine std → auto", "process: loops 0 → 3"}, {}} {
		r := h.reloaded()
		if !slices.Equal(r.Changes, changes) {
			t.Errorf("reload %d: changes %q", i, r.Changes)
		}
		var paths []string
		for _, w := range r.Warnings {
			if w.Code != codeRestart || w.File != h.file {
				t.Errorf("%+v", w)
			}
			paths = append(paths, w.Path)
		}
		if !slices.Equal(paths, []string{"engine", "loops"}) { // for as long as it is so
			t.Errorf("reload %d: warnings of %q", i, paths)
		}
	}
	h.log.await(0, "engine: auto takes effect at the next upgrade or restart; this process goes on with std")
	if h.loops != 0 {
		t.Errorf("%d loops", h.loops)
	}
}

func TestTheEngineIsAsConfigured(t *testing.T) {
	for _, x := range []struct {
		cfg  roost.Config
		want bool // loops
	}{
		{roost.Config{Engine: "std", Loops: 4}, false},
		{roost.Config{Engine: "reactor"}, true},
		{roost.Config{Engine: "auto"}, reactorIsDefault},
	} {
		if n := loopsOf(&x.cfg); n > 0 != x.want {
			t.Errorf("%s: %d loops", x.cfg.Engine, n)
		}
	}
	if n := loopsOf(&roost.Config{Engine: "reactor", Loops: 7}); n != 7 {
		t.Errorf("%d loops, not the 7 of the configuration", n)
	}
}
