package h1

import "testing"

// What holds for every head: it never consumes past its limit, means the same however it is split, agrees with the twin,
// and survives being put together again.
func fuzzHead(f *testing.F, k Kind) {
	each(func(kind Kind, m message) {
		if kind == k {
			f.Add(m.bytes(), uint16(len(m.text)/2))
		}
	})
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		whole := parse(k, tight, in)
		p := Parser{Limits: tight}
		p.Reset(k)
		var h Head
		if done, err := p.Parse(in, &h); done && (h.Size > len(in) || h.Size > tight.Head || len(h.Fields) > tight.Fields || err != nil) {
			t.Errorf("%d of %d bytes, %d fields, %v", h.Size, len(in), len(h.Fields), err)
		}
		if !whole.Done && whole.Reason == 0 && len(in) >= tight.Head {
			t.Error("wants more than the limit")
		}
		cuts := []int{int(cut) % (len(in) + 1)}
		if o := parse(k, tight, in, cuts...); o != whole {
			t.Errorf("split at %d gives %+v instead of %+v", cuts[0], o, whole)
		}
		for n := range min(len(in), tight.Head+10) {
			cuts = append(cuts[:n], n)
		}
		if o := parse(k, tight, in, cuts...); o != whole {
			t.Errorf("byte by byte gives %+v instead of %+v", o, whole)
		}
		if err := compare(k, tight, in); err != nil {
			t.Error(err)
		}
		if err := rewritten(k, tight, in); err != nil {
			t.Error(err)
		}
		if k == Request {
			if err := standard(tight, in); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzRequest(f *testing.F)  { fuzzHead(f, Request) }
func FuzzResponse(f *testing.F) { fuzzHead(f, Response) }

// What holds for every body: no event without progress (drain sees to it), nothing consumed behind the end, the same answer
// however it is split, and agreement with the twin.
func FuzzBody(f *testing.F) {
	for _, c := range bodies {
		f.Add(c.bytes(), uint16(len(c.text)/2))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		if len(in) > 2*MaxTrailer { // beyond all limits nothing new can happen, only slowly
			t.Skip()
		}
		whole := drain(Body{Framing: ByChunks}, in)
		if err := compareBody(in); err != nil {
			t.Error(err)
		}
		cuts := []int{int(cut) % (len(in) + 1)}
		every := []int{}
		for n := range min(len(in), 1000) {
			every = append(every, n)
		}
		for _, cuts := range [][]int{cuts, every} {
			d := drain(Body{Framing: ByChunks}, in, cuts...)
			if whole.reason != 0 {
				d.used = whole.used
			}
			if d != whole {
				t.Errorf("split at %v gives %+v instead of %+v", cuts, d, whole)
			}
		}
	})
}
