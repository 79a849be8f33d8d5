package control

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"roost"
	"roost/internal/health"
)

const (
	// urgentGap is the least time between snapshots for verdicts that stop or start traffic to a node: a death alone is
	// published at once, the deaths of a thousand nodes in 50 snapshots a second and not in a thousand.
	urgentGap = 20 * time.Millisecond

	// gentleGap is the least time between views of a pool for changes that only shift weight, such as slow start: four
	// steps a second are smooth for ramps of seconds.
	gentleGap = 250 * time.Millisecond
)

// World is all that control knows. It has one owner and no locks.
type World struct {
	self      roost.Incarnation
	cfg       *roost.Config
	edits     *roost.Edits    // nil: none came
	listed    []roost.Listing // one of each source and pool
	due       int64           // when the next deadline of a drain passes
	listeners []roost.ListenerView
	pools     []*pool // in the order of cfg.Pools: the index is the PoolRef
	leaving   []*pool // out of the configuration, with requests still in flight
	facts     *Facts
	seq       uint64                        // of the last snapshot
	epoch     uint64                        // Seq of the last table's epoch, over all pools, so that a pool that returns starts later
	published int64                         // when the last snapshot was
	restored  map[roost.PoolID]*roost.Table // of the process before, not in use yet
	ended     map[roost.PoolID]roost.Epoch  // of the last tables of the process before
	out       []Action                      // of the step that is under way
	said      []Action                      // its log lines: they come last, when they are true
}

// never is a time that does not come.
const never = math.MaxInt64

// NewWorld makes a world without configuration. self stamps its tables; restored are the last ones that a process before
// it published, which the first tables of their pools follow.
func NewWorld(self roost.Incarnation, restored ...*roost.Table) *World {
	w := &World{self: self, due: never, restored: map[roost.PoolID]*roost.Table{}, ended: map[roost.PoolID]roost.Epoch{}}
	for _, t := range restored {
		if last := w.restored[t.Pool]; last == nil || last.Epoch.Compare(t.Epoch) < 0 {
			w.restored[t.Pool], w.ended[t.Pool] = t, t.Epoch
		}
	}
	return w
}

// Step takes one event at a time given in Unix nanoseconds, which never goes back, and returns what is to be done.
func (w *World) Step(now int64, e Event) []Action {
	w.out, w.said = nil, nil
	switch e := e.(type) {
	case Configured:
		w.configure(now, e.Config)
	case Edited:
		w.edit(now, e.Edits)
	case Listed:
		w.list(now, e.Listing)
	case Probed:
		w.probed(now, &e.ProbeResult)
		w.refresh(now)
	case Tick:
		w.tick(now)
		w.elapse(now)
		w.refresh(now)
		w.show()
	}
	return append(w.out, w.said...)
}

func (w *World) do(a Action) { w.out = append(w.out, a) }

func (w *World) log(level slog.Level, message string, attrs ...slog.Attr) {
	w.said = append(w.said, Log{level, message, attrs})
}

// probed lets health judge what a probe found. A result for a node that is gone, or for an address it no longer has, says
// nothing.
func (w *World) probed(now int64, r *roost.ProbeResult) {
	i := slices.IndexFunc(w.pools, func(p *pool) bool { return p.conf.ID == r.Pool })
	if i < 0 {
		return
	}
	p := w.pools[i]
	n := p.known[r.Node]
	if n == nil || !n.listed || n.conf.Addr != r.Addr {
		return
	}
	before := n.health
	n.health.Probed(p.rules(n), now, health.Probe{OK: r.OK, Reason: r.Reason})
	n.answers = n.answers && r.OK
	w.judged(now, p, n, &before)
}

// tick reads what requests met since the last tick and lets time pass for every node.
func (w *World) tick(now int64) {
	for _, p := range w.pools {
		for _, n := range p.nodes {
			if n.listed {
				w.seen(now, p, n)
			}
		}
		p.forget()
	}
	w.leaving = slices.DeleteFunc(w.leaving, func(p *pool) bool { p.forget(); return !p.busy() })
}

// elapse cuts what is still open at nodes whose drain's deadline passed.
func (w *World) elapse(now int64) {
	if now < w.due {
		return
	}
	if err := w.turn(now, w.cfg, w.edits, w.listed); err != nil {
		panic(fmt.Sprintf("control: tables that stand cannot be built: %v", err)) // time closes no node that was open
	}
}

// seen lets health judge what requests met at one node.
func (w *World) seen(now int64, p *pool, n *node) {
	before, rules := n.health, p.rules(n)
	met, doubled := n.count()
	if doubled {
		w.log(slog.LevelError, "attempts were ended twice: a bug in the data path", n.attrs(p)...)
	}
	if met != (health.Passive{}) {
		trouble := met.ConnectFail+met.Broken > 0
		if met.Errors > 0 && !trouble && p.disliked() >= p.mayDislike() {
			met.Errors = 0
		}
		n.health.Seen(rules, now, met)
		n.answers = !trouble && (n.answers || before.Verdict != roost.Dead)
		if trouble && before.Verdict != roost.Dead && rules.Kind != roost.HealthNone {
			w.do(Urge{p.conf.ID, n.conf.ID})
		}
	}
	n.health.Tick(rules, now)
	w.judged(now, p, n, &before)
}

// judged takes note of what changed in health's judgement of n, and says so.
func (w *World) judged(now int64, p *pool, n *node, before *health.Node) {
	p.compare(now, n)
	if n.health.Verdict == before.Verdict {
		if n.health.Reason != before.Reason {
			p.facts = nil
		}
		return
	}
	p.facts = nil
	if before.Verdict == roost.Dead {
		n.live.Back.Store(now)
	}
	attrs := append(n.attrs(p), slog.String("was", before.Verdict.String()))
	if n.health.Reason != "" {
		attrs = append(attrs, slog.String("reason", n.health.Reason))
	}
	level := slog.LevelInfo
	switch {
	case n.health.Verdict == roost.Dead || n.health.Verdict == roost.Ailing:
		level = slog.LevelWarn
	case before.Verdict == roost.Unproven:
		level = slog.LevelDebug // what everyone expects of each node at a start
	}
	w.log(level, "node is "+n.health.Verdict.String(), attrs...)
}

// refresh publishes the pools whose change is due.
func (w *World) refresh(now int64) {
	due := false
	for _, p := range w.pools {
		if p.urgent && now-w.published >= int64(urgentGap) || p.stale && now-p.viewed >= int64(gentleGap) {
			w.view(now, p)
			due = true
		}
	}
	if due {
		w.publish(now)
	}
}

// view makes p's view anew and says whether the pool fell into panic or came out.
func (w *World) view(now int64, p *pool) {
	was := p.panics
	p.look(now)
	switch {
	case p.panics && !was:
		w.log(slog.LevelError, "every node of the pool is dead: requests are tried anyway", slog.String("pool", string(p.conf.ID)))
	case was && !p.panics:
		w.log(slog.LevelInfo, "pool has nodes again", slog.String("pool", string(p.conf.ID)), slog.Int("nodes", p.view.Takers))
	}
}

// publish makes the next snapshot.
func (w *World) publish(now int64) {
	w.seq++
	w.published = now
	s := &roost.Snapshot{Seq: w.seq, Config: w.cfg.Digest, Listeners: w.listeners, Pools: make([]roost.PoolView, len(w.pools))}
	for i, p := range w.pools {
		s.Pools[i] = p.view
	}
	w.do(Publish{s})
	w.show()
}
