package serve

import "testing"

func TestMemoryIsGivenBackOnceWhenLittleIsAllocated(t *testing.T) {
	const live = 80 << 20
	var r rest
	var allocated uint64
	for i, x := range []struct {
		more uint64
		want bool
	}{
		{2 << 20, false},   // not quiet
		{1000, false},      // quiet, and not worth it
		{100 << 20, false}, // a wave
		{1000, true},
		{1000, false}, // once
		{5 << 20, false},
		{1000, false}, // less than an eighth of what lives
		{5 << 20, false},
		{1000, true},
	} {
		allocated += x.more
		if got := r.due(allocated, live); got != x.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
