package serve

import (
	"fmt"
	"strings"
	"testing"
)

func TestZZ(t *testing.T) {
	node, _ := echo(t, "n")
	addr := freeAddr(t)
	wide := addr[strings.LastIndex(addr, ":"):]
	text := func(a string) string {
		return loops(fmt.Sprintf("listeners: { web: { address: %q } }\npools: { fn: { nodes: [ %s ] } }\n", a, node))
	}
	h := build(t, text(addr), houseOptions{})
	for i := range 60 {
		a := []string{addr, wide}[(i+1)%2]
		h.write(text(a))
		r := h.Reload(t.Context(), "api", false)
		if !r.OK {
			t.Fatalf("reload %d to %s: %+v", i, a, r.Errors)
		}
		for range 10 {
			dial(t, addr).get("/x")
		}
	}
}
