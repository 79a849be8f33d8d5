package carry

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func second(n float64) int64 { return noon + int64(n*1e9) }

func TestOneByteASecondIsTooSlow(t *testing.T) {
	p := Pace{Rate: 240, Grace: 30 * time.Second}
	for i := range 60 {
		p.Wait(second(float64(i)))
		if slow := p.Moved(1, second(float64(i+1))); slow {
			if i != 30 {
				t.Errorf("found after %d s", i+1)
			}
			return
		}
	}
	t.Error("a byte a second was never found")
}

func TestWhoeverKeepsTheRateIsNeverTooSlow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	p := Pace{Rate: 240, Grace: 30 * time.Second}
	at := 0.0
	for range 10_000 {
		gap := rnd.Float64() * 30 // pauses, and then what would have come meanwhile
		p.Wait(second(at))
		at += gap
		if p.Moved(int64(gap*240)+1, second(at)) {
			t.Fatalf("too slow after %v s", at)
		}
	}
}

func TestTimeInWhichNobodyWaitsDoesNotCount(t *testing.T) {
	p := Pace{Rate: 240, Grace: 30 * time.Second}
	for i := range 100 {
		at := float64(1000 * i)
		p.Wait(second(at))
		if p.Moved(10, second(at+0.01)) { // an event every 1000 s
			t.Fatalf("too slow after %v s", at)
		}
	}
}

func TestAFastBeginningBuysNoMoreThanTheGrace(t *testing.T) {
	p := Pace{Rate: 240, Grace: 30 * time.Second}
	p.Wait(second(0))
	if p.Moved(math.MaxInt64, second(1)) {
		t.Fatal("too slow")
	}
	p.Wait(second(1))
	p.Wait(second(20)) // is waited for already
	if p.Moved(0, second(31)) {
		t.Fatal("too slow within the grace")
	}
	p.Wait(second(31))
	if !p.Moved(1, second(31.1)) {
		t.Error("not too slow behind the grace")
	}
}

func TestAClockThatGoesBackHarmsNobody(t *testing.T) {
	p := Pace{Rate: 1, Grace: time.Second}
	p.Wait(second(100))
	if p.Moved(0, second(1)) {
		t.Error("too slow")
	}
	p.Wait(second(1))
	if p.Moved(0, second(1.5)) {
		t.Error("too slow")
	}
}

func TestAnyPaceWillDoWithoutARate(t *testing.T) {
	var p Pace
	p.Wait(second(0))
	if p.Moved(0, second(1e6)) {
		t.Error("too slow")
	}
}
