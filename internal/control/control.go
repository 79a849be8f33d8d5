// Package control decides what every request finds: it folds configuration, operators' edits, sources' listings, probes and
// what requests met into tables, verdicts and weights, and publishes them as snapshots. A single balancer is a cluster of one: its tables have epochs,
// and agreed deaths are its own.
//
// World decides and Loop drives. World.Step is deterministic: no clock, no I/O, no goroutine, so that a transcript or a
// simulator can replay whole lives. One goroutine, Loop.Run, owns the world; everyone else sends it events.
//
// Guarantee: a snapshot is published only when something changed, its Seq and the epochs of its tables only rise, what
// did not change is shared with the snapshot before, and a node's live counters are the same object for as long as
// anything is counted in it, over any number of snapshots and configurations.
//
// Trap: there is no freeze yet. A balancer that alone loses its network declares all its nodes dead; with nobody to
// compare with, panic mode (requests are tried anyway) is the answer.
package control

import (
	"log/slog"
	"slices"

	"roost"
)

// Event is something that happened: [Configured], [Edited], [Listed], [Probed] or [Tick].
type Event interface{ event() }

// Configured brings a new configuration. It must not change afterwards.
type Configured struct{ *roost.Config }

// Edited brings what operators changed, all of it. It must not change afterwards.
type Edited struct{ *roost.Edits }

// Listed brings what a source lists in one pool now. It must not change afterwards.
type Listed struct{ roost.Listing }

// Probed brings what a probe found.
type Probed struct{ roost.ProbeResult }

// Tick comes ten times a second: time to read the live tallies and to let time pass.
type Tick struct{}

func (Configured) event() {}
func (Edited) event()     {}
func (Listed) event()     {}
func (Probed) event()     {}
func (Tick) event()       {}

// Action is what follows from an event, to be done in order: [Listeners], [Publish], [Show], [Keep], [Targets], [Urge],
// [Refuse] or [Log].
type Action interface{ action() }

// Listeners says which listeners the next snapshot has, by id: others than the one before.
type Listeners struct{ Views []roost.ListenerView }

// Publish makes a snapshot the one that requests use.
type Publish struct{ *roost.Snapshot }

// Show makes facts the ones that Status tells.
type Show struct{ *Facts }

// Keep asks that a table that was just published under a new epoch be kept for the next process.
type Keep struct{ *roost.Table }

// Targets says which nodes are to be probed from now on.
type Targets struct{ Nodes []roost.Target }

// Urge asks for a probe of a node now: requests met trouble there.
type Urge struct {
	Pool roost.PoolID
	Node roost.NodeID
}

// Refuse says that the event was not taken and that everything stands as before.
type Refuse struct{ Err error }

// Log tells operators of a change of state.
type Log struct {
	Level   slog.Level
	Message string
	Attrs   []slog.Attr
}

func (Listeners) action() {}
func (Publish) action()   {}
func (Show) action()      {}
func (Keep) action()      {}
func (Targets) action()   {}
func (Urge) action()      {}
func (Refuse) action()    {}
func (Log) action()       {}

// Assemble gives the snapshot that a balancer alone publishes when it starts with cfg and nothing else, by the code that
// does it there. Listeners have the ids of their places in cfg.
func Assemble(cfg *roost.Config) (*roost.Snapshot, error) {
	numbered := *cfg
	numbered.Listeners = slices.Clone(cfg.Listeners)
	for i := range numbered.Listeners {
		numbered.Listeners[i].ID = roost.ListenerID(i)
	}
	var snap *roost.Snapshot
	for _, a := range NewWorld(roost.Incarnation{}).Step(0, Configured{&numbered}) {
		switch a := a.(type) {
		case Publish:
			snap = a.Snapshot
		case Refuse:
			return nil, a.Err
		}
	}
	return snap, nil
}
