package roost

import (
	"math"
	"time"
)

// Node is a place traffic can be sent to, as an operator, a file, the API or an agent listed it.
type Node struct {
	ID      NodeID
	Addr    string // host:port, [v6]:port, or unix:/path
	Zone    string
	Weight  uint32   // thousandths; 1000 is one share
	Host    MemberID // "": any balancer dials it; else it is reached through this member
	Sleeps  bool     // nothing listens until woken: a refusal is not death
	Sources []Source // the node exists while at least one source lists it
	Holds   []Hold
}

const (
	// WeightOne is the weight of an ordinary node, in thousandths.
	WeightOne = 1000
	// MaxWeight bounds a node's weight at a thousand ordinary nodes: no machine is more, and placement's products of
	// weights, slots and logarithms stay within 64 bits.
	MaxWeight = 1000 * WeightOne
)

// Source says who lists a node. A source that fails keeps its last answer.
type Source struct {
	Kind string // flag, file, api, lb_nodes, agent, dns
	From MemberID
	Rev  uint64
}

// HoldKind is what a hold does to its node.
type HoldKind uint8

const (
	Draining HoldKind = iota + 1 // keeps what it has, gets nothing new
	Down                         // gets nothing
)

// Hold is a cause that keeps a node out; each cause lifts only its own, so an agent's return never lifts an operator's.
type Hold struct {
	Kind     HoldKind
	Cause    string // operator, agent, memory, leader
	Since    Stamp
	Deadline time.Duration // 0: none
}

// CutAt is when the hold's deadline passes, in Unix nanoseconds: what is still open at the node then is ended.
func (h Hold) CutAt() (at int64, ok bool) {
	if h.Deadline <= 0 {
		return 0, false
	}
	return int64(min(h.Since.Wall, uint64(math.MaxInt64-h.Deadline))) + int64(h.Deadline), true
}

// Stamp orders operators' intents where no shared store does: a hybrid logical clock, then the writer.
type Stamp struct {
	Wall, Count uint64
	By          MemberID
}

// Verdict is what health says of a node.
type Verdict uint8

const (
	Unproven Verdict = iota // never probed yet: served like Well, so that a start does not wait for the first probe
	Well
	Ailing // half weight
	Dead   // no traffic, except in panic
)

func (v Verdict) String() string {
	switch v {
	case Well:
		return "well"
	case Ailing:
		return "ailing"
	case Dead:
		return "dead"
	}
	return "unproven"
}

// Duty is what operators and the leader say of a node. It is derived from holds and the roster, never stored.
type Duty uint8

const (
	Up Duty = iota
	Joining
	DutyDraining
	DutyDown
)

func (d Duty) String() string {
	switch d {
	case Joining:
		return "joining"
	case DutyDraining:
		return "draining"
	case DutyDown:
		return "down"
	}
	return "up"
}

// DutyOf derives a node's duty from its holds: the strongest one wins.
func DutyOf(holds []Hold) Duty {
	d := Up
	for _, h := range holds {
		switch {
		case h.Kind == Down:
			return DutyDown
		case h.Kind == Draining:
			d = DutyDraining
		}
	}
	return d
}
