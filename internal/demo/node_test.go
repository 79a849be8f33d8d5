package demo

import (
	"container/list"
	"testing"
	"testing/synctest"
	"time"
)

// testNode is a node without a listener.
func testNode(capacity int) *node {
	l := newLedger(10)
	l.begin(time.Now())
	return &node{cold: time.Second, capacity: capacity, ledger: l, fns: map[int]*list.Element{}, lru: list.New()}
}

func TestCallsDuringAColdStartWaitForItAndAreNoColdStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := testNode(3)
		start := time.Now()
		if got := n.call(1).Sub(start); got != time.Second {
			t.Errorf("first call: ready after %v", got)
		}
		time.Sleep(400 * time.Millisecond)
		if got := n.call(1).Sub(start); got != time.Second {
			t.Errorf("call during the start: ready after %v", got)
		}
		if got := n.ledger.figures(0).Cold; got != 1 {
			t.Errorf("%d cold starts", got)
		}
		time.Sleep(time.Second)
		if time.Until(n.call(1)) > 0 {
			t.Error("a warm function is not ready")
		}
	})
}

func TestTheFunctionThatWasNotCalledForLongestMakesRoom(t *testing.T) {
	n := testNode(3)
	for _, c := range []struct{ fn, cold int }{{1, 1}, {2, 2}, {3, 3}, {1, 3}, {4, 4}, {1, 4}, {3, 4}, {2, 5}, {4, 6}} {
		n.call(c.fn)
		if got := n.ledger.figures(0).Cold; got != c.cold {
			t.Fatalf("after a call of %d: %d cold starts, want %d", c.fn, got, c.cold)
		}
	}
	if n.warm() != 3 {
		t.Errorf("%d functions are warm, there is room for 3", n.warm())
	}
}
