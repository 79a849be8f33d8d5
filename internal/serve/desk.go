package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"roost"
	"roost/internal/api"
	"roost/internal/intent"
	"roost/internal/store"
)

// turn is taken by whoever changes what is served: the start, a change, a listing, a reload, an upgrade, the end. One at a
// time.
type turn chan struct{}

// try takes the turn if nobody has it.
func (t turn) try() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

func (t turn) give() { <-t }

// begin takes the turn, unless nothing may be changed now.
func (b *Balancer) begin(ctx context.Context) error {
	if err := b.away(); err != nil {
		return err
	}
	return b.await(ctx)
}

// await takes the turn. An upgrade under way is waited for: it may fail. Nobody waits for a turn that is not given any more.
func (b *Balancer) await(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
		err := b.away()
		if err != nil { // since we began to wait
			b.turn.give()
		}
		return err
	case <-b.handed:
		return errHanded
	case <-b.ending.Done():
		return errEnding
	case <-ctx.Done():
		return fmt.Errorf("wait for another change: %w", context.Cause(ctx))
	}
}

var (
	errEnding = &roost.ChangeError{Code: roost.CodeEnding, Text: "this balancer is draining and takes no changes any more"}
	errHanded = &roost.ChangeError{Code: roost.CodeEnding, Text: "another process serves in the place of this one: ask again"}
)

// away says why nothing may be changed here now, or nil.
func (b *Balancer) away() error {
	switch {
	case b.draining.Load():
		return errEnding
	case b.upgrading.Load():
		return &roost.ChangeError{Code: roost.CodeEnding, Text: "an upgrade is under way: ask again in a moment"}
	}
	return nil
}

// Change makes one change, and returns once requests are served by it. With ifRev it is made only if nobody changed
// anything since that revision. The error is a *roost.ChangeError, or the end of ctx while another change was made.
func (b *Balancer) Change(ctx context.Context, c roost.Change, ifRev *uint64) (api.Changed, error) {
	c = stamped(c, time.Now())
	if err := b.begin(ctx); err != nil {
		return api.Changed{}, err
	}
	defer b.turn.give()
	if ifRev != nil && *ifRev != b.edits.Rev {
		return api.Changed{}, moved(b.edits.Rev)
	}
	next, err := intent.Apply(b.config(), b.edits, b.listed, c)
	if err != nil {
		return api.Changed{}, err
	}
	if next != b.edits {
		if err := b.put(next); err != nil {
			return api.Changed{}, err
		}
		b.log.Info("changed by an operator", "pool", string(c.On()), "what", describe(c), "revision", next.Rev)
	}
	return api.Changed{Revision: b.edits.Rev, Pool: c.On(), Epoch: epoch(b.snap.Load(), c.On())}, nil
}

// put stores next, and then serves by it. The tables are stored, too, before it returns: after a change that was answered,
// a restart moves no key.
func (b *Balancer) put(next *roost.Edits) error {
	err := b.keeper.save(b.edits, next)
	if errors.Is(err, store.Conflict) { // it was made without knowing of another
		if err := b.adopt(); err != nil {
			return err
		}
		return moved(b.edits.Rev)
	}
	if err != nil {
		return &roost.ChangeError{Code: roost.CodeStoreAway, Text: err.Error()}
	}
	if err := b.edit(next); err != nil {
		return b.takeBack(next, err)
	}
	b.edits = next
	b.keeper.settle(b.support.ctx)
	return nil
}

// edit serves by e.
func (b *Balancer) edit(e *roost.Edits) error {
	if err := b.control.Edit(b.support.ctx, e); err != nil {
		return err
	}
	b.edited.Store(e)
	return nil
}

// adopt serves by what the store holds, whoever put it there.
func (b *Balancer) adopt() error {
	theirs, err := b.keeper.load()
	if err != nil {
		return &roost.ChangeError{Code: roost.CodeStoreAway, Text: err.Error()}
	}
	served := b.edited.Load().Rev
	if theirs.Rev == served { // it was only seen before it was served
		return nil
	}
	if err := b.edit(theirs); err != nil {
		return &roost.ChangeError{Code: roost.CodeStoreAway, Text: "another process put changes into the store that cannot be used: " + err.Error()}
	}
	b.edits = theirs
	b.log.Warn("the store holds other changes than were served; they are taken", "served", served, "revision", theirs.Rev)
	return nil
}

// reconcile is given what a check found in the store. What is not served by then was put there by another process, by
// whoever restored a backup, or by a call that seemed to fail: a restart must not be what brings it to light.
func (b *Balancer) reconcile(found *roost.Edits) {
	served := b.edited.Load()
	if served == nil || found.Rev == served.Rev || b.away() != nil || !b.turn.try() {
		return // it starts or ends, or whoever has the turn is about to serve it: the next check sees
	}
	defer b.turn.give()
	if err := b.adopt(); err != nil {
		b.log.Warn("the store holds other changes than are served", "served", served.Rev, "revision", found.Rev, "error", err)
	}
}

// takeBack puts the edits before, under a new revision, in place of those that control refused: the store must not hold
// what is not served.
func (b *Balancer) takeBack(next *roost.Edits, why error) error {
	before := &roost.Edits{Rev: next.Rev + 1, Pools: b.edits.Pools}
	if err := b.keeper.save(next, before); err != nil {
		b.edits = next // as far as the store is concerned; control still has the edits before
		return &roost.ChangeError{Code: roost.CodeStoreAway, Text: fmt.Sprintf("%v; and the store cannot take it back: %v", why, err)}
	}
	b.edits = before
	return &roost.ChangeError{Code: roost.CodeBadChange, Text: errors.Join(why, b.edit(before)).Error()}
}

func moved(rev uint64) error {
	return &roost.ChangeError{Code: roost.CodeRevMoved, Text: fmt.Sprintf("somebody else made a change; now it is revision %d: look again", rev)}
}

// List takes what a source lists in a pool now, in place of what it listed there before.
func (b *Balancer) List(ctx context.Context, l roost.Listing) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.turn.give()
	if err := b.control.List(b.support.ctx, l); err != nil {
		return err
	}
	b.listed = relist(b.listed, l)
	b.keeper.settle(b.support.ctx)
	return nil
}

// relist puts l in the place of what its source listed in its pool.
func relist(all []roost.Listing, l roost.Listing) []roost.Listing {
	all = slices.DeleteFunc(slices.Clone(all), func(old roost.Listing) bool {
		return old.Pool == l.Pool && old.Source.Kind == l.Source.Kind && old.Source.From == l.Source.From
	})
	return append(all, l)
}

// stamped gives a hold without a time the time of now: a deadline counts from when it was said, not from its turn.
func stamped(c roost.Change, now time.Time) roost.Change {
	if h, ok := c.(roost.SetHold); ok && h.Hold.Since == (roost.Stamp{}) {
		h.Hold.Since.Wall = uint64(now.UnixNano())
		return h
	}
	return c
}

// describe says what a change is, for the log.
func describe(c roost.Change) string {
	switch c := c.(type) {
	case roost.AddNode:
		return fmt.Sprintf("add node %s at %s", c.Node.ID, c.Node.Addr)
	case roost.RemoveNode:
		return fmt.Sprintf("remove node %s", c.Node)
	case roost.SetWeight:
		return fmt.Sprintf("weigh node %s %v", c.Node, float64(c.Weight)/roost.WeightOne)
	case roost.SetHold:
		verb := "drain"
		if c.Hold.Kind == roost.Down {
			verb = "take down"
		}
		return fmt.Sprintf("%s node %s", verb, c.Node)
	case roost.LiftHold:
		return fmt.Sprintf("undrain node %s", c.Node)
	case roost.SetPin:
		return fmt.Sprintf("pin key %q", c.Pin.Key)
	case roost.RemovePin:
		return fmt.Sprintf("unpin key %q", c.Key)
	case roost.SetHomes:
		return fmt.Sprintf("set homes to %d", c.Homes)
	}
	panic(fmt.Sprintf("serve: a change of unknown type %T", c))
}

// epoch is that of a pool's table.
func epoch(s *roost.Snapshot, pool roost.PoolID) string {
	for i := range s.Pools {
		if s.Pools[i].ID == pool {
			return s.Pools[i].Table.Epoch.String()
		}
	}
	return ""
}
