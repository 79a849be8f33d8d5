package main

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestQuantilesAreNeverTooLittleAndLessThanAHundredthTooMuch(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var h Hist
		var all []int64
		for range 1 + rnd.IntN(2000) {
			v := rnd.Int64N(1 << (1 + rnd.IntN(40)))
			all = append(all, v)
			h.Add(v)
		}
		slices.Sort(all)
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
			i := 0
			for float64(i+1) < q*float64(len(all)) {
				i++
			}
			got, want := h.Quantile(q), all[i]
			if got < want || float64(got) > float64(want)*(1+1.0/128) {
				t.Fatalf("quantile %g of %d durations: %d, the twin says %d", q, len(all), got, want)
			}
		}
	}
}

func TestBucketsMeetWithoutGapOrOverlap(t *testing.T) {
	for i := range len(Hist{}.counts) - 1 {
		if b := bucket(uint64(upper(i))); b != i {
			t.Fatalf("the upper end of bucket %d is in bucket %d", i, b)
		}
		if b := bucket(uint64(upper(i)) + 1); b != i+1 {
			t.Fatalf("what follows bucket %d is in bucket %d", i, b)
		}
		if upper(i) == 1<<63-1 {
			return
		}
	}
	t.Fatal("the buckets end before the durations do")
}

func TestAnEmptyHistogramAndNegativeDurationsAreZero(t *testing.T) {
	var h Hist
	if q := h.Quantile(0.99); q != 0 {
		t.Errorf("empty: %d", q)
	}
	h.Add(-5)
	if q := h.Quantile(1); q != 0 || h.n != 1 {
		t.Errorf("negative: quantile %d of %d", q, h.n)
	}
}

func TestMergedHistogramsAreAsIfOneHadSeenAll(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var one, two, all Hist
	for range 1000 {
		a, b := rnd.Int64N(1<<30), rnd.Int64N(1<<20)
		one.Add(a)
		two.Add(b)
		all.Add(a)
		all.Add(b)
	}
	one.Merge(&two)
	if one != all {
		t.Error("they differ")
	}
}
