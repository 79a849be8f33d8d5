package demo

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheBooksTellApartWhyAFunctionStartsAgain(t *testing.T) {
	l := newLedger(5)
	l.called(0, 0, true)
	l.called(1, 1, true)
	l.called(2, 1, true)
	l.called(3, 2, true)
	l.called(3, 2, false)
	l.kill(1, 5*time.Second)
	l.called(1, 0, true)  // lost its home
	l.called(1, 0, false) // and is there now
	l.called(4, 2, true)  // never called before
	l.called(4, 0, true)  // and moves, which is nobody's fault
	l.called(0, 0, true)  // its home lives and forgot it
	l.called(3, 0, true)  // its home lives, but it was sent away
	l.called(3, 1, false)
	l.called(9, 0, true) // no function of ours
	got := *l.figures(6 * time.Second).Kill
	want := Kill{At: 5 * time.Second, Cold: 4, Called: 4, Homes: 2, Back: 1, Restarts: 1, First: 2, Again: 2, Moved: 1}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestLatenciesAreThoseOfTheLastSeconds(t *testing.T) {
	l := newLedger(1)
	for i := range 100 {
		l.answered(time.Second, time.Duration(i+1)*time.Hour, true)
	}
	for i := range 100 {
		l.answered(time.Second+window+time.Duration(i+1), time.Duration(i+1)*time.Millisecond, true)
	}
	l.answered(time.Second+window+200, time.Hour, false)
	s := l.figures(time.Second + window + 300)
	if s.P50 != 50*time.Millisecond || s.P99 != 99*time.Millisecond || s.Calls != 201 || s.Failed != 1 {
		t.Errorf("p50 %v, p99 %v, %d calls, %d failed", s.P50, s.P99, s.Calls, s.Failed)
	}
	if s := l.figures(time.Hour); s.P50 != 0 || s.P99 != 0 {
		t.Errorf("an hour later: p50 %v, p99 %v", s.P50, s.P99)
	}
}

func TestColdStartsAreKeptByTheSecondAndNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(1)
		start := time.Now()
		l.begin(start)
		for second := range 3 * lastSeconds {
			for range second % 7 {
				l.called(0, 0, true)
			}
			time.Sleep(time.Second)
		}
		got := l.figures(time.Since(start)).PerSecond
		var want []int
		for second := 2*lastSeconds + 1; second < 3*lastSeconds; second++ {
			want = append(want, second%7)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
