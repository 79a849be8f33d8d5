package pick

import (
	"time"

	"roost"
)

// HoldFor is how long this balancer leaves a node alone after a connection to it failed. It need only bridge the time
// until control has seen the failure (a tenth of a second) and health decides for how long the node is out, so that it
// is short and does not grow; a node that comes back is missed for a second at most.
const HoldFor = time.Second

// Next settles one ended attempt: it tallies the outcome for health, holds a node that could not be connected to, keeps
// what the node reported of its load, and calls End. Then it says what follows.
//
// Sent again is only what is known not to have started, or may be repeated (RFC 9110, 9.2.2), and never early data (RFC
// 8470). Attempts that failed to connect and one stale pooled connection are free, since nothing reached the node:
// other retries spend the pool's budget.
//
// A response that passes to the client is settled once, at its end. Only a busy one (Outcome.Busy) is to be settled at
// its head, with StageHead: StepDone then says to pass it on.
func Next(p *roost.PoolView, a *roost.Attempt, o *roost.Outcome, replay roost.Replay, t *roost.Tried, now int64) roost.Step {
	tally(a.Live, o, now)
	End(a)
	step := follow(p, o, replay, t)
	if step == roost.StepRetry {
		p.Live.Retries.Add(1)
	}
	return step
}

func follow(p *roost.PoolView, o *roost.Outcome, replay roost.Replay, t *roost.Tried) roost.Step {
	again := !replay.EarlyData && int(t.N) < min(p.Settings.MaxTries, roost.MaxTries)
	switch {
	case o.Fault == roost.NoFault && o.Busy && !o.Answered:
		// Elsewhere, if there is an elsewhere: else the node's own answer says best when to come back.
		elsewhere := p.Takers > int(t.N) && p.Table.Policy.Owner == roost.Shared
		if again && elsewhere && p.Settings.RetryOn503 && replay.Replayable && p.Live.Budget.Spend() {
			return roost.StepRetry
		}
		return roost.StepDone
	case o.Fault == roost.NoFault:
		return roost.StepDone
	case !again || o.Answered || o.Stage > roost.StageHead || !ofNode(o.Fault):
		return roost.StepFail
	case o.Stage == roost.StageConnect:
		return roost.StepRetry
	}
	// What is unsent may be unsendable too: a body can be read, and dropped, before its node says that it did not start.
	safe := replay.Replayable && (!o.Sent || replay.Idempotent)
	if safe && stale(o) && !t.Has(roost.NoNode) {
		t.Forgive() // it says nothing about the node: the key stays at home
		return roost.StepRetry
	}
	ended := o.Fault == roost.FaultReset || o.Fault == roost.FaultTimeout
	if safe && (ended || !o.Sent) && p.Live.Budget.Spend() {
		return roost.StepRetry
	}
	return roost.StepFail
}

// tally counts what an outcome says of its node.
func tally(l *roost.Live, o *roost.Outcome, now int64) {
	l.Report(o.Load, now)
	// What began before the node last came back was met by the one that died: timeouts that were still running then would
	// eject it again at once.
	late := now-o.Nanos < l.Back.Load()
	switch {
	case o.Status == 0 && o.Fault == roost.NoFault && o.Stage == roost.StageDone: // a raw connection stands
		l.Nanos.Add(uint64(max(0, o.Nanos)))
	case o.Status == 0 && (late || !ofNode(o.Fault) || stale(o)):
		return
	case o.Status != 0:
		if o.Status >= 500 && !o.Busy && !late {
			l.Errors.Add(1)
		}
		l.Nanos.Add(uint64(max(0, o.Nanos)))
	case o.Stage == roost.StageConnect:
		l.ConnectFail.Add(1)
		l.HoldUntil.Store(now + int64(HoldFor))
	default:
		l.Broken.Add(1)
	}
	l.Requests.Add(1)
}

// ofNode tells faults of the node from those of the client and of this balancer.
func ofNode(f roost.Fault) bool { return f >= roost.FaultRefused && f <= roost.FaultTooLarge }

// stale tells a pooled connection that the node had closed while it was idle, as far as can be told: the node broke it
// before it answered anything.
func stale(o *roost.Outcome) bool {
	return o.Reused && o.Fault == roost.FaultReset && o.Status == 0 &&
		(o.Stage == roost.StageSend || o.Stage == roost.StageHead)
}
