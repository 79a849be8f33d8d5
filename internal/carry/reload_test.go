package carry

import (
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/h1"
)

// next is a later snapshot: another pool comes first, and the pool's table is another, with another hash key and the nodes in
// another order behind a new one.
func (w *world) next() *roost.Snapshot {
	old := &w.snap.Pools[0]
	table := *old.Table
	table.Hash.Key[0] = 1
	table.Roster = append([]roost.RosterNode{{ID: "new", Share: roost.WeightOne}}, table.Roster...)
	page := &roost.Page{}
	for s := range page.Rows {
		page.Rows[s] = roost.Row{1, 0, roost.NoNode, roost.NoNode, roost.NoNode, roost.NoNode, roost.NoNode, roost.NoNode}
	}
	table.Pages = nil
	for range table.Slots() / roost.PageSlots {
		table.Pages = append(table.Pages, page)
	}
	pool := *old
	pool.Table, pool.Takers, pool.Weight = &table, 2, 2*roost.WeightOne
	pool.Nodes = append([]roost.NodeView{{ID: "new", Addr: "10.0.0.9:80", Weight: roost.WeightOne, Verdict: roost.Well, Live: &roost.Live{}}}, old.Nodes...)
	return &roost.Snapshot{Listeners: w.snap.Listeners, Pools: []roost.PoolView{{ID: "other"}, pool}}
}

func TestARefreshedExchangeHashesItsKeyAgain(t *testing.T) {
	w := newWorld(t)
	w.request(lines("GET /a HTTP/1.1", "Host: h"))
	before := w.x.Key.Hash
	if before == 0 {
		t.Fatal("the key was not hashed")
	}
	w.x.End(roost.StageConnect, roost.FaultRefused, nil, noon)
	next := w.next()
	w.x.Refresh(next)
	if r := w.x.Choose(1, noon); r != roost.NotRefused {
		t.Fatal(r)
	}
	if want := next.Pools[1].Table.Hash.Sum([]byte("/a")); w.x.Key.Hash != want || want == before {
		t.Errorf("hash %x, want %x", w.x.Key.Hash, want)
	}
}

func TestANodeThatWasTriedIsKnownInALaterRoster(t *testing.T) {
	w := newWorld(t)
	w.request(lines("GET / HTTP/1.1", "Host: h"))
	w.x.End(roost.StageConnect, roost.FaultRefused, nil, noon)
	w.x.Refresh(w.next()) // where the same node is the first home, by another number
	if r := w.x.Choose(1, noon); r != roost.NotRefused || w.x.Attempt.ID != "new" {
		t.Errorf("%v, %+v: want the other node", r, w.x.Attempt)
	}
}

func TestANodeThatWasTriedAndIsGoneIsNobodyInALaterRoster(t *testing.T) {
	w := newWorld(t)
	w.request(lines("GET / HTTP/1.1", "Host: h"))
	w.x.End(roost.StageConnect, roost.FaultRefused, nil, noon)
	for range 2 { // and in the one after that
		next := w.next()
		p := &next.Pools[1]
		p.Nodes[1] = roost.NodeView{ID: "n2", Addr: "10.0.0.2:80", Weight: roost.WeightOne, Verdict: roost.Well, Live: &roost.Live{}}
		w.x.Refresh(next)
	}
	if r := w.x.Choose(1, noon); r != roost.NotRefused || w.x.Attempt.ID != "n2" {
		t.Errorf("%v, %+v", r, w.x.Attempt)
	}
	if w.x.tried.Forgave() {
		t.Error("counts as forgiven")
	}
}

func TestAStaleConnectionIsStillForgivenAfterARefresh(t *testing.T) {
	w := newWorld(t)
	w.request(lines("GET / HTTP/1.1", "Host: h"))
	w.x.Reused, w.x.Sent = true, true
	if step := w.x.End(roost.StageHead, roost.FaultReset, nil, noon); step != roost.StepRetry {
		t.Fatal(step)
	}
	w.x.Refresh(w.next())
	if r := w.x.Choose(1, noon); r != roost.NotRefused || w.x.Attempt.ID != "n1" || !w.x.Attempt.Fresh {
		t.Errorf("%v, %+v: want the same node, dialled", r, w.x.Attempt)
	}
}

func TestAnExchangeWhosePoolIsGoneGoesOnWithIt(t *testing.T) {
	w := newWorld(t)
	text := lines("GET / HTTP/1.1", "Host: h")
	parse(t, h1.Request, text, &w.req)
	if r, ok := w.x.Accept(w.snap, &w.peer, &w.req, text, noon, noon); !ok {
		t.Fatal(r)
	}
	w.x.Refresh(&roost.Snapshot{Pools: []roost.PoolView{{ID: "other"}}})
	if r := w.x.Choose(1, noon); r != roost.NotRefused || w.x.Attempt.ID != "n1" {
		t.Errorf("%v, %+v", r, w.x.Attempt)
	}
}

func TestAListenerThatIsOutOfTheConfigurationAnswersAndCloses(t *testing.T) {
	w := newWorld(t)
	w.snap.Listeners[0].Retired = true
	w.request(lines("GET / HTTP/1.1", "Host: h"))
	if !w.x.Close {
		t.Error("the connection goes on")
	}
	w.x.Abandon()
	for name, listeners := range map[string][]roost.ListenerView{"zero": {{}}, "absent": nil} {
		w.snap.Listeners = listeners
		text := lines("GET / HTTP/1.1", "Host: h")
		parse(t, h1.Request, text, &w.req)
		r, ok := w.x.Accept(w.snap, &w.peer, &w.req, text, noon, noon)
		if ok || r.Status != 503 || r.Code != "listener_retired" || !w.x.Close {
			t.Errorf("%s: %+v, close %v", name, r, w.x.Close)
		}
	}
}

func TestTheWaitInsideANodeIsRecordedAndStaysHere(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
	for name, c := range map[string]struct {
		head, body string
		want       time.Duration
	}{
		"none":         {head: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"one":          {"HTTP/1.1 200 OK\r\nXXX-FXLB-WAIT: 1.5s\r\nContent-Length: 0\r\n\r\n", "", 1500 * time.Millisecond},
		"garbage":      {head: "HTTP/1.1 200 OK\r\nXxx-Fxlb-Wait: soon\r\nContent-Length: 0\r\n\r\n"},
		"negative":     {head: "HTTP/1.1 200 OK\r\nXxx-Fxlb-Wait: -2s\r\nContent-Length: 0\r\n\r\n"},
		"two":          {"HTTP/1.1 200 OK\r\nXxx-Fxlb-Wait: 2s\r\nXxx-Fxlb-Wait: 20ms\r\nContent-Length: 0\r\n\r\n", "", 2 * time.Second},
		"in a trailer": {chunked + "\r\n", "0\r\nXxx-Fxlb-Wait: 70ms\r\n\r\n", 70 * time.Millisecond},
	} {
		w := newWorld(t)
		w.request(lines("GET / HTTP/1.1", "Host: h"))
		_, got := w.respond(c.head)
		rest, _, _ := w.x.Out.Next(nil, []byte(c.body))
		got += string(rest)
		if strings.Contains(strings.ToLower(got), "fxlb") {
			t.Errorf("%s: the client gets %q", name, got)
		}
		w.x.End(roost.StageDone, roost.NoFault, nil, noon)
		if r := w.x.Finish(noon); time.Duration(r.Wait) != c.want {
			t.Errorf("%s: %v, want %v", name, time.Duration(r.Wait), c.want)
		}
	}
}

func TestAWaitOfAnEarlierAttemptIsNotTheLastOnes(t *testing.T) {
	w := newWorld(t)
	w.snap.Pools[0].Settings.RetryOn503 = true
	next := w.next()
	next.Pools[1].Settings.RetryOn503 = true
	w.snap = &roost.Snapshot{Listeners: w.snap.Listeners, Pools: next.Pools[1:]}
	w.request(lines("GET / HTTP/1.1", "Host: h"))
	if turn, _ := w.respond(lines("HTTP/1.1 503 Busy", "Retry-After: 1", "Xxx-Fxlb-Wait: 9s", "Content-Length: 0")); turn != Retry {
		t.Fatal(turn)
	}
	w.x.Choose(1, noon)
	w.respond(lines("HTTP/1.1 200 OK", "Content-Length: 0"))
	w.x.End(roost.StageDone, roost.NoFault, nil, noon)
	if got := w.x.Finish(noon).Wait; got != 0 {
		t.Errorf("%v", time.Duration(got))
	}
}

func TestAStreamThatItsNodeResetIsAnAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		status         uint16
		step           roost.Step
		broken, errors uint64
	}{
		"the connection broke":      {0, roost.StepRetry, 1, 0},
		"the request was malformed": {400, roost.StepFail, 0, 0},
		"the answer failed":         {502, roost.StepRetry, 0, 1},
	} {
		w := newWorld(t)
		w.request(lines("GET / HTTP/1.1", "Host: h"))
		w.x.Sent, w.x.Reset = true, c.status
		step := w.x.End(roost.StageHead, roost.FaultReset, nil, noon)
		l := w.snap.Pools[0].Nodes[0].Live
		if step != c.step || l.Requests.Load() != 1 || l.Broken.Load() != c.broken || l.Errors.Load() != c.errors {
			t.Errorf("%s: %v; %d requests, %d broken, %d errors", name, step, l.Requests.Load(), l.Broken.Load(), l.Errors.Load())
		}
		if r := w.x.Failed(); r.Code != "node_reset" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestAnAnswerThatPassesHoldsNoTable(t *testing.T) {
	w := newWorld(t)
	w.request(lines("GET / HTTP/1.1", "Host: h"))
	w.respond(lines("HTTP/1.1 200 OK", "Content-Length: 5"))
	if w.x.Pool.Table != nil || w.x.Pool.Nodes != nil || w.x.Pool.ID != "p" || w.x.Pool.Live == nil {
		t.Errorf("%+v", w.x.Pool)
	}
	if step := w.x.End(roost.StageBody, roost.FaultReset, nil, noon); step != roost.StepFail {
		t.Error(step)
	}
}
