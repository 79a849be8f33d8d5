package roost_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"roost"
)

// Every value of a word's type has a name of its own: they are what operators see.
func TestEveryValueHasAName(t *testing.T) {
	names := func(last int, name func(int) fmt.Stringer) {
		t.Helper()
		var seen []string
		for i := range last + 1 {
			s := name(i).String()
			if s == "" || strings.ToLower(s) != s || slices.Contains(seen, s) {
				t.Errorf("%T %d is called %q", name(i), i, s)
			}
			seen = append(seen, s)
		}
	}
	names(int(roost.WhyPanic), func(i int) fmt.Stringer { return roost.Why(i) })
	names(int(roost.FaultLocal), func(i int) fmt.Stringer { return roost.Fault(i) })
	names(int(roost.RefusedOwner), func(i int) fmt.Stringer { return roost.Refusal(i) })
	names(int(roost.Dead), func(i int) fmt.Stringer { return roost.Verdict(i) })
	names(int(roost.DutyDown), func(i int) fmt.Stringer { return roost.Duty(i) })
	names(int(roost.Quarantined), func(i int) fmt.Stringer { return roost.Cause(i) })
}

func TestStrongestHoldDecidesTheDuty(t *testing.T) {
	hold := func(kinds ...roost.HoldKind) (holds []roost.Hold) {
		for _, k := range kinds {
			holds = append(holds, roost.Hold{Kind: k})
		}
		return holds
	}
	for _, c := range []struct {
		holds []roost.Hold
		want  roost.Duty
	}{
		{nil, roost.Up},
		{hold(roost.Draining), roost.DutyDraining},
		{hold(roost.Down), roost.DutyDown},
		{hold(roost.Draining, roost.Down), roost.DutyDown},
		{hold(roost.Down, roost.Draining), roost.DutyDown},
	} {
		if got := roost.DutyOf(c.holds); got != c.want {
			t.Errorf("%v: %v, want %v", c.holds, got, c.want)
		}
	}
}

func TestADeadlineCountsFromItsHoldAndStaysWithinTime(t *testing.T) {
	at := func(wall uint64, deadline time.Duration) int64 {
		at, ok := roost.Hold{Since: roost.Stamp{Wall: wall}, Deadline: deadline}.CutAt()
		if ok != (deadline > 0) {
			t.Errorf("a deadline of %v: %v", deadline, ok)
		}
		return at
	}
	for _, c := range []struct {
		wall     uint64
		deadline time.Duration
		want     int64
	}{{5, 0, 0}, {5, -1, 0}, {5, 7, 12}, {math.MaxUint64, 7, math.MaxInt64}, {1, math.MaxInt64, math.MaxInt64}} {
		if got := at(c.wall, c.deadline); got != c.want {
			t.Errorf("%v after %d: %d, want %d", c.deadline, c.wall, got, c.want)
		}
	}
}

func TestEpochsAreOrderedByEraTermSequenceAndLeader(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	var epochs []roost.Epoch
	for range 300 {
		epochs = append(epochs, roost.Epoch{Era: rnd.Uint64N(3), Term: rnd.Uint64N(3), Seq: rnd.Uint64N(3),
			Leader: roost.Incarnation{byte(rnd.IntN(2)), byte(rnd.IntN(2))}})
	}
	for _, a := range epochs {
		for _, b := range epochs {
			// The twin: as text of fixed width.
			text := func(e roost.Epoch) string { return fmt.Sprintf("%020d%020d%020d%x", e.Era, e.Term, e.Seq, e.Leader) }
			if got, want := a.Compare(b), strings.Compare(text(a), text(b)); got != want {
				t.Fatalf("%v against %v: %d, want %d", a, b, got, want)
			}
		}
		if a.IsZero() != (a == roost.Epoch{}) {
			t.Errorf("%v is zero: %v", a, a.IsZero())
		}
	}
	if got := (roost.Epoch{Era: 1, Term: 2, Seq: 3, Leader: roost.Incarnation{0xab}}).String(); got != "1.2.3-ab000000" {
		t.Errorf("as text: %s", got)
	}
}

func TestTriedNodesAreRememberedUpToTheLastTry(t *testing.T) {
	var tried roost.Tried
	if tried.Has(0) || tried.Forgave() {
		t.Error("the zero value is not empty")
	}
	tried.Forgive() // nothing to forgive
	for ref := range roost.NodeRef(roost.MaxTries + 2) {
		tried.Add(ref)
	}
	if tried.N != roost.MaxTries || !tried.Has(0) || !tried.Has(roost.MaxTries-1) || tried.Has(roost.MaxTries) {
		t.Errorf("%+v", tried)
	}
	tried.Forgive()
	if tried.N != roost.MaxTries || tried.Has(roost.MaxTries-1) || !tried.Forgave() {
		t.Errorf("after one was forgiven: %+v", tried)
	}
}
