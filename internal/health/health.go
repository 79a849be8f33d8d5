// Package health judges a node by its probes and by how requests to it end.
//
// Guarantee: a node is dead only for a cause that its Reason names. It comes back when its probes are well, or without
// probes on trial, but not before an ejection ends, which takes cfg.Eject, or 32 times that when it keeps failing. Only the
// first ejection for a failed connection ends as soon as probes say so, since they prove just that.
//
// Trap: times must come from a clock that does not step, and a Node must be told of them (Tick): untold, ejections do
// not end and slow start does not rise.
package health

import (
	"fmt"

	"roost"
)

// Node is the state of one node. The zero value is a node never probed: it is served, so that a start does not wait.
type Node struct {
	Verdict roost.Verdict
	Reason  string // why it is dead, ailing or on trial; "" when it is well
	Since   int64  // when the verdict became what it is, Unix nanoseconds; 0: from the start

	passed, failed int    // probes in a row
	errors         uint64 // bad answers in a row
	ejections      int    // without calm between, at most maxDoublings
	out            int64  // an ejection lasts until then
	back           int64  // slow start began then; 0: it did not

	told struct { // what changed was last reported of
		verdict roost.Verdict
		lack    uint32 // whole less the factor
	}
}

const (
	// whole is the factor of a node that takes its share, in thousandths; ailing that of one in doubt.
	whole, ailing = 1000, 500
	// slowSteps is in how many steps slow start rises. Each is a new snapshot; ten are smooth enough.
	slowSteps = 10
	// maxDoublings bounds ejections that repeat: 10 s grow to 5 min, by when a person looks.
	maxDoublings = 5
	// calm is how many times cfg.Eject a node must have been back for its next ejection to be a short one again.
	calm = 10
)

// Probe is what one probe found.
type Probe struct {
	OK     bool
	Reason string // why not, in words for operators
}

// Passive is what requests met since the last call.
type Passive struct {
	ConnectFail, Broken, Errors, Good uint64
	LastReason                        string // of a failure, in words for operators; may be empty
}

// Probed takes a probe's result and reports whether the verdict or the factor changed.
//
// The first probe decides at once: nothing is known that it could contradict. Later, one failure makes a node ailing,
// since a doubt costs only half its share; cfg.Fall in a row make it dead, and one success ends the doubt. A dead node
// needs cfg.Rise successes in a row, and an end of its ejection, and comes back with slow start.
func (n *Node) Probed(cfg *roost.HealthSettings, now int64, p Probe) (changed bool) {
	if p.OK {
		n.passed, n.failed = n.passed+1, 0
		switch n.Verdict {
		case roost.Unproven, roost.Ailing:
			n.judge(roost.Well, "", now)
		case roost.Dead:
			n.comeBack(cfg, now)
		}
		return n.changed(cfg, now)
	}
	n.passed, n.failed = 0, n.failed+1
	switch {
	case n.Verdict == roost.Dead && now < n.out: // the ejection's reason says more
	case n.Verdict == roost.Dead:
		n.Reason = p.Reason
	case n.Verdict == roost.Unproven || n.failed >= cfg.Fall:
		n.judge(roost.Dead, p.Reason, now)
	default:
		n.judge(roost.Ailing, p.Reason, now)
	}
	return n.changed(cfg, now)
}

// Seen takes what requests met since the last call and reports whether the verdict or the factor changed.
//
// A failed connection ejects at once: there is nothing that listens. So do cfg.Burst bad answers in a row, broken
// connections among them. What lies between two calls has no order here, so a row is one of calls without a good
// answer: a node that fails at everything is out within a call or two, and one that fails at some things, as a function
// with a bug does, stays in: a share of errors says more of what is asked than of who answers.
func (n *Node) Seen(cfg *roost.HealthSettings, now int64, p Passive) (changed bool) {
	if n.Verdict == roost.Dead {
		return false // known; what still ends, or is tried in panic, must not make it longer
	}
	n.errors += p.Broken + p.Errors
	if p.Good > 0 {
		n.errors = 0
	}
	switch {
	case p.ConnectFail > 0:
		n.eject(cfg, now, cfg.Kind != roost.HealthNone, reason(p, "a connection failed"))
	case cfg.Burst > 0 && n.errors >= uint64(cfg.Burst):
		n.eject(cfg, now, false, reason(p, fmt.Sprintf("%d errors in a row", n.errors)))
	case cfg.Kind == roost.HealthNone && p.Good > 0:
		n.judge(roost.Well, "", now) // there is no better proof
	}
	return n.changed(cfg, now)
}

func reason(p Passive, what string) string {
	if p.LastReason == "" {
		return what
	}
	return what + ": " + p.LastReason
}

// eject takes a node out for a time that doubles while ejections repeat. Where probes can prove the opposite of its cause,
// the first one lasts no longer than that takes: one refused connection, of a node that restarts or whose queue was
// full for a moment, must not keep its keys away for long.
func (n *Node) eject(cfg *roost.HealthSettings, now int64, provable bool, reason string) {
	doublings := n.ejections
	if provable {
		doublings--
	}
	n.out = now
	if doublings >= 0 {
		n.out += int64(cfg.Eject) << doublings
	}
	n.ejections = min(n.ejections+1, maxDoublings)
	n.passed = 0 // what was well before says nothing now
	n.judge(roost.Dead, reason, now)
}

// Tick lets time pass: ejections end, slow start rises. It reports whether the verdict or the factor changed.
func (n *Node) Tick(cfg *roost.HealthSettings, now int64) (changed bool) {
	switch {
	case n.Verdict == roost.Dead:
		n.comeBack(cfg, now)
	case n.ejections > 0 && now-n.back >= calm*int64(cfg.Eject):
		n.ejections = 0
	}
	return n.changed(cfg, now)
}

// comeBack ends a death that is over: its ejection has ended and enough probes were well, or, where there are no
// probes, the node goes on trial.
func (n *Node) comeBack(cfg *roost.HealthSettings, now int64) {
	if now < n.out {
		return
	}
	n.out = 0
	switch {
	case n.passed >= max(1, cfg.Rise):
		n.judge(roost.Well, "", now)
	case cfg.Kind == roost.HealthNone:
		n.judge(roost.Unproven, "on trial after: "+n.Reason, now)
	default:
		return
	}
	n.errors, n.back = 0, now
}

// judge sets verdict and reason.
func (n *Node) judge(v roost.Verdict, reason string, now int64) {
	if n.Verdict != v {
		n.Verdict, n.Since = v, now
	}
	n.Reason = reason
}

// Factor is how much of its planned share the node takes now, in thousandths: none when dead, half when ailing, and in
// slow start from a tenth to all of it.
func (n *Node) Factor(cfg *roost.HealthSettings, now int64) uint32 {
	f := uint32(whole)
	switch n.Verdict {
	case roost.Dead:
		return 0
	case roost.Ailing:
		f = ailing
	}
	if age := now - n.back; n.back != 0 && age < int64(cfg.SlowStart) {
		step := 1 + age*slowSteps/int64(cfg.SlowStart)
		f = min(f, uint32(step)*whole/slowSteps)
	}
	return f
}

// changed tells whether verdict or factor differ from what they were when it was last asked.
func (n *Node) changed(cfg *roost.HealthSettings, now int64) bool {
	before := n.told
	n.told.verdict, n.told.lack = n.Verdict, whole-n.Factor(cfg, now)
	return n.told != before
}
