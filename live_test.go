package roost_test

import (
	"math"
	"testing"
	"time"

	"roost"
)

func TestPressureHalvesEveryHalfLife(t *testing.T) {
	const now = 1_790_000_000_000_000_000
	var l roost.Live
	if got := l.Pressure(now); got != 0 {
		t.Errorf("never reported: %v", got)
	}
	l.Report(roost.Load{Pressure: 9}, now)
	if l.Load.Load() != 0 {
		t.Error("an outcome that says nothing was kept")
	}
	l.Report(roost.Load{Has: true, Pressure: 65535}, now)
	for after, want := range map[time.Duration]float64{
		0: 1, roost.LoadHalfLife: 0.5, 2 * roost.LoadHalfLife: 0.25, 5 * time.Second: math.Sqrt2 / 2, time.Hour: 0,
		-time.Minute: 1, // a clock that stepped back
	} {
		if got := l.Pressure(now + int64(after)); math.Abs(got-want) > 1e-6 {
			t.Errorf("after %v: %v, want %v", after, got, want)
		}
	}
	l.Report(roost.Load{Has: true, Pressure: 6553}, now)
	if got := l.Pressure(now); math.Abs(got-0.1) > 1e-4 {
		t.Errorf("the last word is %v, want 0.1", got)
	}
}

func TestRetryBudgetIsATenthOfTheRequestsAndABurst(t *testing.T) {
	spend := func(b *roost.RetryBudget) (n int) {
		for b.Spend() {
			n++
		}
		return n
	}
	var b roost.RetryBudget
	if got := spend(&b); got != 10 {
		t.Errorf("a fresh pool has %d retries, want 10", got)
	}
	for range 250 {
		b.Earn()
	}
	if got := spend(&b); got != 25 {
		t.Errorf("250 requests earned %d retries, want 25", got)
	}
	for range 100_000 {
		b.Earn()
	}
	if got := spend(&b); got != 100 {
		t.Errorf("%d retries were saved up, want at most 100", got)
	}
}
