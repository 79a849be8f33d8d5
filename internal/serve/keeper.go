package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"roost"
	"roost/internal/place"
	"roost/internal/store"
)

const (
	// storeLimit bounds one call of the store: SQLite waits 2 s for a lock, and a disk that needs longer than this for a few
	// pages is not one to wait for.
	storeLimit = 5 * time.Second
	// checkEvery is how often the store is asked whether it works, and how soon after a failure it is tried again.
	checkEvery = 5 * time.Second
	// openLimit bounds the opening of the store, which looks at all of it.
	openLimit = time.Minute
)

// keeper is the store as a balancer uses it: no call is unbounded, the last table of each pool gets there in the end
// without anyone waiting for it, and whether the store works is known, also when nobody changes anything.
type keeper struct {
	store store.Store
	log   *slog.Logger
	every time.Duration      // checkEvery
	wake  chan struct{}      // once when a table waits
	found func(*roost.Edits) // is given what each check has read; nil: nobody asks

	mu      sync.Mutex                    // guards all below
	waiting map[roost.PoolID]*roost.Table // not stored yet: the latest of each pool, so this cannot grow
	last    *roost.Table                  // of all that came
	paused  bool                          // another process writes
	fault   string                        // why the store cannot be used now; "": it can
	round   chan struct{}                 // closed, and made anew, after each attempt to store what waits
}

func newKeeper(s store.Store, log *slog.Logger) *keeper {
	return &keeper{store: s, log: log, every: checkEvery, wake: make(chan struct{}, 1),
		waiting: map[roost.PoolID]*roost.Table{}, round: make(chan struct{})}
}

// keep takes a pool's new table. It does not wait.
func (k *keeper) keep(t *roost.Table) {
	k.mu.Lock()
	k.waiting[t.Pool], k.last = t, t
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default: // run is called already
	}
}

// run stores tables until ctx ends, and then those that still wait.
func (k *keeper) run(ctx context.Context) error {
	tick := time.NewTicker(k.every)
	defer tick.Stop()
	for {
		select {
		case <-k.wake:
			if k.status() == "" { // else the next check tries, so that a broken store is not asked all the time
				k.storeTables()
			}
		case <-tick.C:
			k.check()
		case <-ctx.Done():
			k.storeTables()
			return nil
		}
	}
}

// check finds out whether the store can be read and, after a fault, whether it can be written again: by the last table.
func (k *keeper) check() {
	k.mu.Lock()
	t, failing, paused := k.last, k.fault != "", k.paused
	k.mu.Unlock()
	if paused {
		return
	}
	var found *roost.Edits
	err := k.do(func(ctx context.Context) (err error) {
		found, err = k.store.Load(ctx)
		if err == nil && failing && t != nil {
			err = k.store.SaveTable(ctx, t.Pool, place.Encode(t))
		}
		return err
	})
	if err != nil {
		return
	}
	k.storeTables()
	if k.found != nil {
		k.found(found)
	}
}

// storeTables stores what waits, until one fails.
func (k *keeper) storeTables() {
	k.mu.Lock()
	var todo []*roost.Table
	if !k.paused {
		todo = slices.Collect(maps.Values(k.waiting))
	}
	k.mu.Unlock()
	for _, t := range todo {
		if k.do(func(ctx context.Context) error { return k.store.SaveTable(ctx, t.Pool, place.Encode(t)) }) != nil {
			break
		}
		k.mu.Lock()
		if k.waiting[t.Pool] == t { // else a newer one came meanwhile
			delete(k.waiting, t.Pool)
		}
		k.mu.Unlock()
	}
	k.mu.Lock()
	close(k.round)
	k.round = make(chan struct{})
	k.mu.Unlock()
}

// settle waits until every table is stored, or the store cannot: then, too, the balancer goes on.
func (k *keeper) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	for {
		k.mu.Lock()
		done, round := len(k.waiting) == 0 || k.fault != "" || k.paused, k.round
		k.mu.Unlock()
		if done {
			return
		}
		select {
		case <-round:
		case <-ctx.Done():
			return
		}
	}
}

// save replaces the edits before by those after.
func (k *keeper) save(before, after *roost.Edits) error {
	return k.do(func(ctx context.Context) error { return k.store.Save(ctx, before, after) })
}

// load gives the edits that the store holds.
func (k *keeper) load() (e *roost.Edits, err error) {
	err = k.call(func(ctx context.Context) error { e, err = k.store.Load(ctx); return err })
	return e, err
}

// tables gives those that were stored last, by whichever process. One that cannot be read is left out with a warning: its
// pool's keys may move, but traffic matters more.
func (k *keeper) tables() (ts []*roost.Table, err error) {
	var encoded map[roost.PoolID][]byte
	err = k.call(func(ctx context.Context) error { encoded, err = k.store.Tables(ctx); return err })
	for _, id := range slices.Sorted(maps.Keys(encoded)) {
		t, err := place.Decode(encoded[id])
		if err == nil && t.Pool != id {
			err = fmt.Errorf("it is pool %q's", t.Pool)
		}
		if err != nil {
			k.log.Warn("a stored table cannot be used; keys of its pool may move", "pool", string(id), "error", err)
			continue
		}
		ts = append(ts, t)
	}
	return ts, err
}

// pause keeps tables from being stored, because another process stores its own, or lets them go on.
func (k *keeper) pause(on bool) {
	k.mu.Lock()
	k.paused = on
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// do makes one call and notes whether the store works. A conflict is no fault: the store did its work.
func (k *keeper) do(f func(context.Context) error) error {
	err := k.call(f)
	fault := ""
	if err != nil && !errors.Is(err, store.Conflict) {
		fault = err.Error()
	}
	k.mu.Lock()
	before := k.fault
	k.fault = fault
	k.mu.Unlock()
	switch {
	case fault != "" && fault != before:
		k.log.Error("changes cannot be kept now, and are refused; traffic goes on", "error", err)
	case fault == "" && before != "":
		k.log.Info("the store works again", "store", name(k.store))
	}
	return err
}

// call bounds a call. It does not end with whoever asked for it: of one that was broken off nobody knows whether it was
// carried out.
func (k *keeper) call(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeLimit)
	defer cancel()
	err := f(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("store %s did not answer within %v", name(k.store), storeLimit)
	}
	return err
}

func (k *keeper) status() (fault string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fault
}

func name(s store.Store) string {
	if s.Path() != "" {
		return s.Path()
	}
	return s.Kind()
}
