package pick_test

import (
	"slices"
	"testing"
	"time"

	"roost"
	"roost/internal/pick"
)

const (
	get     = iota // idempotent, its body is held
	post           // neither repeatable nor
	upload         // idempotent, but its body is gone
	early          // a get in early data
	heldPut        // a post whose body is held
)

var replays = []roost.Replay{
	get:     {Idempotent: true, Replayable: true},
	post:    {Replayable: true},
	upload:  {Idempotent: true},
	early:   {Idempotent: true, Replayable: true, EarlyData: true},
	heldPut: {Replayable: true},
}

func TestWhatFollowsAnOutcome(t *testing.T) {
	const done, again, fail = roost.StepDone, roost.StepRetry, roost.StepFail
	busy := roost.Outcome{Stage: roost.StageHead, Status: 503, Busy: true, Sent: true}
	for _, c := range []struct {
		name    string
		request int
		o       roost.Outcome
		want    roost.Step
		charged bool
	}{
		{"answered", get, roost.Outcome{Stage: roost.StageDone, Status: 200, Sent: true, Answered: true}, done, false},
		{"answered with 500", get, roost.Outcome{Stage: roost.StageDone, Status: 500, Sent: true, Answered: true}, done, false},

		{"refused", post, roost.Outcome{Stage: roost.StageConnect, Fault: roost.FaultRefused}, again, false},
		{"unreachable", upload, roost.Outcome{Stage: roost.StageConnect, Fault: roost.FaultConnect}, again, false},
		{"not resolved", post, roost.Outcome{Stage: roost.StageConnect, Fault: roost.FaultResolve}, again, false},
		{"not to be dialled", post, roost.Outcome{Stage: roost.StageConnect, Fault: roost.FaultForbidden}, again, false},
		{"refused, early data", early, roost.Outcome{Stage: roost.StageConnect, Fault: roost.FaultRefused}, fail, false},
		{"no descriptors left", get, roost.Outcome{Stage: roost.StageConnect, Fault: roost.FaultLocal}, fail, false},
		{"client gone while connecting", get, roost.Outcome{Stage: roost.StageConnect, Fault: roost.FaultClientGone}, fail, false},

		{"stale, unsent", post, roost.Outcome{Stage: roost.StageSend, Fault: roost.FaultReset, Reused: true}, again, false},
		{"stale, get", get, roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultReset, Reused: true, Sent: true}, again, false},
		{"stale, post", post, roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultReset, Reused: true, Sent: true}, fail, false},
		{"stale, body gone", upload, roost.Outcome{Stage: roost.StageSend, Fault: roost.FaultReset, Reused: true, Sent: true}, fail, false},
		{"stale, early data", early, roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultReset, Reused: true, Sent: true}, fail, false},

		{"reset, unsent", post, roost.Outcome{Stage: roost.StageSend, Fault: roost.FaultReset}, again, true},
		{"reset, get", get, roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultReset, Sent: true}, again, true},
		{"reset, post", post, roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultReset, Sent: true}, fail, false},
		{"reset, body gone", upload, roost.Outcome{Stage: roost.StageSend, Fault: roost.FaultReset, Sent: true}, fail, false},
		{"timeout, get", get, roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultTimeout, Sent: true, Reused: true}, again, true},
		{"timeout, post", heldPut, roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultTimeout, Sent: true}, fail, false},
		{"nonsense, get", get, roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultProtocol, Sent: true}, fail, false},
		{"head too large", get, roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultTooLarge, Sent: true}, fail, false},
		{"nonsense before anything was sent", post, roost.Outcome{Stage: roost.StageSend, Fault: roost.FaultProtocol}, again, true},

		{"broken off in the body", get, roost.Outcome{Stage: roost.StageBody, Status: 200, Fault: roost.FaultReset, Sent: true, Answered: true}, fail, false},
		{"broken off after a 1xx", get, roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultReset, Sent: true, Answered: true}, fail, false},
		{"client gone", get, roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultClientGone, Sent: true}, fail, false},
		{"client slow", get, roost.Outcome{Stage: roost.StageSend, Fault: roost.FaultClientSlow, Sent: true}, fail, false},
		{"client's framing", get, roost.Outcome{Stage: roost.StageSend, Fault: roost.FaultClientFrames, Sent: true}, fail, false},

		{"busy, get", get, busy, again, true},
		{"busy, post", post, busy, again, true}, // it did not start
		{"busy, body gone", upload, busy, done, false},
		{"busy, early data", early, busy, done, false},
		{"503 that is not busy", get, roost.Outcome{Stage: roost.StageHead, Status: 503, Sent: true}, done, false},
	} {
		p, k := pool(t, shared, 1, 1, 1), key("k")
		p.Settings.RetryOn503 = true
		var tried roost.Tried
		a, _ := pick.Begin(p, k, &tried, 1, now)
		p.Live.Budget.Tenths.Store(0)
		if got := pick.Next(p, &a, &c.o, replays[c.request], &tried, now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if charged := p.Live.Budget.Tenths.Load() == -10; charged != c.charged {
			t.Errorf("%s: charged %v", c.name, charged)
		}
		if retries := p.Live.Retries.Load(); (retries == 1) != (c.want == again) {
			t.Errorf("%s: %d retries counted", c.name, retries)
		}
		if !a.Ended || p.Live.InFlight.Load() != 0 || a.Live.InFlight.Load() != 0 {
			t.Errorf("%s: not counted out", c.name)
		}
	}
}

func TestBusyAnswerIsPassedOnWhenThereIsNoElsewhere(t *testing.T) {
	for name, change := range map[string]func(p *roost.PoolView){
		"switched off":   func(p *roost.PoolView) { p.Settings.RetryOn503 = false },
		"one node":       func(p *roost.PoolView) { out(p, 0, 1) },
		"an owner":       func(p *roost.PoolView) { p.Table.Policy.Owner = roost.Available },
		"no budget left": func(p *roost.PoolView) { p.Live.Budget.Tenths.Store(-roost.RetryCredit) },
		"one try":        func(p *roost.PoolView) { p.Settings.MaxTries = 1 },
	} {
		p := pool(t, shared, 1, 1, 1)
		p.Settings.RetryOn503 = true
		change(p)
		var tried roost.Tried
		a, refusal := pick.Begin(p, key("k"), &tried, 1, now)
		if refusal != roost.NotRefused {
			t.Fatalf("%s: %v", name, refusal)
		}
		o := roost.Outcome{Stage: roost.StageHead, Status: 503, Busy: true, Sent: true}
		if got := pick.Next(p, &a, &o, replays[get], &tried, now); got != roost.StepDone {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTriesEnd(t *testing.T) {
	refused := roost.Outcome{Stage: roost.StageConnect, Fault: roost.FaultRefused}
	for setting, want := range map[int]int{0: 1, 1: 1, 2: 2, 3: 3, 4: 4, 100: roost.MaxTries} {
		p := pool(t, shared, equal(20)...)
		p.Settings.MaxTries = setting
		var tried roost.Tried
		got := 0
		for step := roost.StepRetry; step == roost.StepRetry; got++ {
			a, refusal := pick.Begin(p, key("k"), &tried, 1, now)
			if refusal != roost.NotRefused {
				t.Fatal(refusal)
			}
			step = pick.Next(p, &a, &refused, replays[get], &tried, now)
		}
		if got != want {
			t.Errorf("at most %d: %d attempts, want %d", setting, got, want)
		}
	}
}

func TestRetriesStayWithinTheirShare(t *testing.T) {
	p := pool(t, shared, equal(20)...)
	reset := roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultReset, Sent: true}
	const requests = 10_000
	for range requests {
		var tried roost.Tried
		for step := roost.StepRetry; step == roost.StepRetry; {
			a, _ := pick.Begin(p, key("k"), &tried, 1, now)
			step = pick.Next(p, &a, &reset, replays[get], &tried, now)
		}
	}
	if got, most := p.Live.Retries.Load(), uint64(requests/10+10); got > most || got < most-20 {
		t.Errorf("%d retries of %d requests, want %d", got, requests, most)
	}
}

func TestStaleConnectionIsTriedAgainAtTheSameNodeOnce(t *testing.T) {
	p, k := pool(t, shared, equal(5)...), key("k")
	stale := roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultReset, Reused: true, Sent: true}
	o := order(p, k)
	var tried roost.Tried
	a := begin(t, p, k, &tried, o[0], roost.WhyHome)
	if a.Fresh {
		t.Error("the first attempt must not dial")
	}
	pick.Next(p, &a, &stale, replays[get], &tried, now)
	a = begin(t, p, k, &tried, o[0], roost.WhyRetry)
	if !a.Fresh || a.Try != 1 {
		t.Errorf("fresh %v, try %d: the second attempt is to dial", a.Fresh, a.Try)
	}
	if l := p.Nodes[o[0]].Live; l.Broken.Load() != 0 || l.Requests.Load() != 0 || l.HoldUntil.Load() != 0 {
		t.Error("a stale connection was held against the node")
	}
	// Had it come from the pool and failed again, the next node would be asked, at a price.
	if step := pick.Next(p, &a, &stale, replays[get], &tried, now); step != roost.StepRetry {
		t.Fatal(step)
	}
	begin(t, p, k, &tried, o[1], roost.WhyRetry)
	if got := p.Live.Budget.Tenths.Load(); got != 1-10 {
		t.Errorf("budget at %d", got)
	}

	// The owner of a key is tried again, too.
	p = pool(t, owned, equal(5)...)
	tried = roost.Tried{}
	a = begin(t, p, k, &tried, o[0], roost.WhyHome)
	pick.Next(p, &a, &stale, replays[get], &tried, now)
	begin(t, p, k, &tried, o[0], roost.WhyRetry)
}

func TestFailedConnectionHoldsTheNode(t *testing.T) {
	p, k := pool(t, shared, equal(5)...), key("k")
	o := order(p, k)
	var tried roost.Tried
	a := begin(t, p, k, &tried, o[0], roost.WhyHome)
	refused := roost.Outcome{Stage: roost.StageConnect, Fault: roost.FaultRefused}
	pick.Next(p, &a, &refused, replays[get], &tried, now)
	begin(t, p, k, &roost.Tried{}, o[1], roost.WhyNextHome)
	for after, want := range map[time.Duration]roost.NodeRef{pick.HoldFor - 1: o[1], pick.HoldFor: o[0]} {
		if a, _ := pick.Begin(p, k, &roost.Tried{}, 1, now+int64(after)); a.Node != want {
			t.Errorf("after %v: node %d, want %d", after, a.Node, want)
		}
	}
}

func TestTallies(t *testing.T) {
	type tally struct{ requests, connect, broken, errors uint64 }
	for name, c := range map[string]struct {
		o    roost.Outcome
		want tally
	}{
		"good":                  {roost.Outcome{Stage: roost.StageDone, Status: 200}, tally{1, 0, 0, 0}},
		"not found":             {roost.Outcome{Stage: roost.StageDone, Status: 404}, tally{1, 0, 0, 0}},
		"error":                 {roost.Outcome{Stage: roost.StageDone, Status: 500}, tally{1, 0, 0, 1}},
		"busy":                  {roost.Outcome{Stage: roost.StageHead, Status: 503, Busy: true}, tally{1, 0, 0, 0}},
		"refused":               {roost.Outcome{Fault: roost.FaultRefused}, tally{1, 1, 0, 0}},
		"broken":                {roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultReset}, tally{1, 0, 1, 0}},
		"nonsense":              {roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultProtocol}, tally{1, 0, 1, 0}},
		"silent":                {roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultTimeout, Reused: true}, tally{1, 0, 1, 0}},
		"stale":                 {roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultReset, Reused: true}, tally{}},
		"client gone before":    {roost.Outcome{Stage: roost.StageHead, Fault: roost.FaultClientGone}, tally{}},
		"client gone after":     {roost.Outcome{Stage: roost.StageBody, Status: 200, Fault: roost.FaultClientGone}, tally{1, 0, 0, 0}},
		"out of descriptors":    {roost.Outcome{Fault: roost.FaultLocal}, tally{}},
		"broken off in a body":  {roost.Outcome{Stage: roost.StageBody, Status: 200, Fault: roost.FaultReset}, tally{1, 0, 0, 0}},
		"error and client gone": {roost.Outcome{Stage: roost.StageBody, Status: 502, Fault: roost.FaultClientGone}, tally{1, 0, 0, 1}},
	} {
		p := pool(t, shared, 1)
		c.o.Nanos = 5
		c.o.Load = roost.Load{Has: true, Pressure: 65535}
		a, _ := pick.Begin(p, nil, &roost.Tried{}, 1, now)
		pick.Next(p, &a, &c.o, replays[post], &roost.Tried{}, now)
		l := a.Live
		if got := (tally{l.Requests.Load(), l.ConnectFail.Load(), l.Broken.Load(), l.Errors.Load()}); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		if got := l.Nanos.Load(); (got == 5) != (c.o.Status != 0) {
			t.Errorf("%s: %d ns", name, got)
		}
		if l.Pressure(now) != 1 {
			t.Errorf("%s: the report is lost", name)
		}
		if held := l.HoldUntil.Load() > now; held != (c.want.connect > 0) {
			t.Errorf("%s: held %v", name, held)
		}
	}
}

func TestSteadyPathAllocatesNothing(t *testing.T) {
	p := bench(t, 100)
	k := &roost.Key{Bytes: []byte("/r/shop/checkout/confirm/order")}
	for name, request := range requests(p, k) {
		if n := testing.AllocsPerRun(200, request); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// bench is a pool of nodes with a thousand exceptions.
func bench(t testing.TB, nodes int) *roost.PoolView {
	p := pool(t, shared, equal(nodes)...)
	pages := slices.Clone(p.Table.Pages)
	for i := range 1000 {
		hash := p.Table.Hash.Sum([]byte{byte(i), byte(i >> 8)})
		at := p.Table.SlotOf(hash) >> roost.PageBits
		page := *pages[at]
		hot := roost.Exception{Key: hash, Cause: roost.HotKey, Homes: []roost.NodeRef{1, 2, 3}}
		page.SetExceptions(append(slices.Clone(page.Exceptions), hot))
		pages[at] = &page
	}
	table := *p.Table
	table.Pages = pages
	p.Table = &table
	return p
}

// requests are the whole of what pick does for one request, of each kind.
func requests(p *roost.PoolView, k *roost.Key) map[string]func() {
	ok := roost.Outcome{Stage: roost.StageDone, Status: 200, Sent: true, Answered: true, Nanos: 1000}
	one := func(k *roost.Key) {
		var tried roost.Tried
		a, refusal := pick.Begin(p, k, &tried, 0x9e3779b97f4a7c15, now)
		if refusal != roost.NotRefused || pick.Next(p, &a, &ok, roost.Replay{}, &tried, now) != roost.StepDone {
			panic("no attempt")
		}
	}
	hot := &roost.Key{Bytes: []byte{7, 0}}
	return map[string]func(){
		"keyed":    func() { k.Hash = 0; one(k) },
		"hot":      func() { hot.Hash = 0; one(hot) },
		"balanced": func() { one(nil) },
	}
}

func BenchmarkRequest(b *testing.B) {
	p := bench(b, 1000)
	k := &roost.Key{Bytes: []byte("/r/shop/checkout/confirm/order")}
	for _, name := range []string{"keyed", "hot", "balanced"} {
		request := requests(p, k)[name]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				request()
			}
		})
	}
}

// Many keys, so that rows and counters come from beyond the first caches.
func BenchmarkRequestOfManyKeys(b *testing.B) {
	p := bench(b, 1000)
	ok := roost.Outcome{Stage: roost.StageDone, Status: 200, Sent: true, Answered: true, Nanos: 1000}
	bytes := []byte("/r/shop/checkout/confirm/order")
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		bytes[0], bytes[1], bytes[2] = byte(i), byte(i>>8), byte(i>>16)
		k := roost.Key{Bytes: bytes}
		var tried roost.Tried
		a, _ := pick.Begin(p, &k, &tried, 1, now)
		pick.Next(p, &a, &ok, roost.Replay{}, &tried, now)
	}
}

func TestWhatBeganBeforeANodeCameBackIsNotHeldAgainstIt(t *testing.T) {
	for name, o := range map[string]roost.Outcome{
		"silent":  {Stage: roost.StageHead, Fault: roost.FaultTimeout},
		"refused": {Fault: roost.FaultRefused},
		"error":   {Stage: roost.StageDone, Status: 500},
	} {
		for began, counts := range map[int64]bool{now - 2: false, now: true} {
			p := pool(t, shared, 1)
			a, _ := pick.Begin(p, nil, &roost.Tried{}, 1, began)
			a.Live.Back.Store(now - 1)
			o.Nanos = now + 5 - began
			pick.Next(p, &a, &o, replays[post], &roost.Tried{}, now+5)
			if got := a.Live.ConnectFail.Load() + a.Live.Broken.Load() + a.Live.Errors.Load(); (got == 1) != counts {
				t.Errorf("%s, begun %d ns after the return: counted %d times", name, began-now+1, got)
			}
			if a.Live.InFlight.Load() != 0 {
				t.Errorf("%s: still in flight", name)
			}
		}
	}
}
