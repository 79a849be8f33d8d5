package roost

import (
	"math"
	"sync/atomic"
	"time"
)

// Live holds one node's counters on this balancer. It outlives snapshots, so that requests in flight over a reload are
// still counted where they run. Fields that change with every request share the first cache line; the padding keeps two
// nodes from sharing one (64 bytes on amd64, 128 covers arm64 and the adjacent-line prefetcher).
type Live struct {
	InFlight  atomic.Int64 // requests sent and not ended
	Conns     atomic.Int64 // upgraded and raw connections: a gauge apart, so that idle WebSockets do not raise the bound
	HoldUntil atomic.Int64 // Unix nanoseconds; until then this balancer sends nothing new. Pools with an owner ignore it
	Load      atomic.Uint64
	// Load packs what the node last reported: pressure in 1/65535 (upper 16 bits) and when, in Unix milliseconds (lower
	// 48 bits). Zero: never. Report writes it, Pressure reads it.
	_ [128 - 32]byte

	// Cumulative tallies, read by control ten times a second; they only grow. What a client broke off before the node
	// answered, and a pooled connection that had gone stale, say nothing of the node and are in none of them.
	Requests    atomic.Uint64 // attempts that ended by the node's answer or its failure
	ConnectFail atomic.Uint64 // of these: connections refused, unreachable or timed out
	Broken      atomic.Uint64 // of these: broken, timed out or unintelligible before a whole response head
	Errors      atomic.Uint64 // of these: responses with a status of 500 or more, except busy ones (Outcome.Busy)
	Nanos       atomic.Uint64 // sum of durations until the response head
	DoubleEnds  atomic.Uint64 // attempts ended twice: a bug, counted and alarmed

	// Back is when the node last came back from the dead, Unix nanoseconds, set by control. How attempts that began before
	// end says nothing of the node that came back.
	Back atomic.Int64
	_    [128 - 56]byte
}

// LoadHalfLife is how fast a report fades: a node that is sent nothing reports nothing, so that its last word must not
// keep it empty for ever. Ten seconds outlast the gaps between two requests of a pool that is in use.
const LoadHalfLife = 10 * time.Second

// Report remembers what a node said of itself at now (Unix nanoseconds). The last word counts.
func (l *Live) Report(load Load, now int64) {
	if load.Has {
		l.Load.Store(uint64(load.Pressure)<<48 | uint64(now/1e6)&(1<<48-1))
	}
}

// Pressure is what the node last reported, faded since: from 0 (take all) to 1 (take nothing that another can take).
func (l *Live) Pressure(now int64) float64 {
	w := l.Load.Load()
	if w>>48 == 0 {
		return 0
	}
	age := max(0, now/1e6-int64(w&(1<<48-1)))
	return float64(w>>48) / 65535 * math.Exp2(-float64(age)/float64(LoadHalfLife.Milliseconds()))
}

// PoolLive holds one pool's counters on this balancer.
type PoolLive struct {
	InFlight atomic.Int64 // over all its nodes
	Waiting  atomic.Int64 // requests queued because every node is at its hard limit
	_        [128 - 16]byte

	Panics  atomic.Uint64 // attempts made although every node was dead or on hold
	Spills  atomic.Uint64 // attempts that went past their homes because of load
	Retries atomic.Uint64 // attempts that were made again
	Budget  RetryBudget
	_       [128 - 40]byte
}

// RetryBudget bounds retries to a share of recent requests, so that a failing pool is not stormed. It is a token
// bucket: each first attempt earns a tenth of a retry, each charged retry spends one; the floor lets an idle pool
// retry at all, the cap bounds the burst.
type RetryBudget struct {
	// Tenths of retries earned since start, less ten for each spent, offset by the initial credit.
	Tenths atomic.Int64
}

const (
	// RetryCredit is what a fresh pool may spend before it earned anything: 10 retries.
	RetryCredit = 100
	// RetryCap is the most that can be saved up, in tenths: a burst of 100 retries.
	RetryCap = 1000
)

// Earn credits one first attempt.
func (b *RetryBudget) Earn() {
	if b.Tenths.Load() < RetryCap-RetryCredit {
		b.Tenths.Add(1)
	}
}

// Spend takes one retry, or reports that the budget is used up.
func (b *RetryBudget) Spend() bool {
	if b.Tenths.Add(-10) < -RetryCredit {
		b.Tenths.Add(10)
		return false
	}
	return true
}
