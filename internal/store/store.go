// Package store is the port to what must outlive the process: what operators changed through the API, and the last table
// of each pool. Adapters put it into a database; a memory store stands in where nothing shall last.
//
// Guarantee: a change is stored whole or not at all, and once a call returned nil it outlives a crash of the machine.
// Every failure is an [*Error] that says what happened and what to do, or the context's own error; only edits that no
// store can hold have a plain one.
//
// Trap: a call that failed because its context ended may have been carried out all the same; load again to know.
package store

import (
	"context"
	"errors"

	"roost"
)

// Store keeps edits and tables. Its methods may be called at the same time.
type Store interface {
	// ID is minted inside the store by its first migration, and copied with a backup.
	ID() roost.StoreID
	Kind() string // memory, sqlite
	Path() string // of its file; "": it has none

	// Load returns what was last saved; before the first save, empty edits at revision 0.
	Load(context.Context) (*roost.Edits, error)
	// Save replaces prev, which the caller loaded or saved last, by next, which has a higher revision. It fails with
	// [Conflict], and changes nothing, when the store is not at prev's revision. A nil prev is that of a new store.
	Save(ctx context.Context, prev, next *roost.Edits) error

	// Tables returns the tables of all pools, those that left the configuration included, as they were saved.
	Tables(context.Context) (map[roost.PoolID][]byte, error)
	// SaveTable replaces the table of a pool.
	SaveTable(ctx context.Context, pool roost.PoolID, encoded []byte) error

	// Close waits for calls under way. Later ones fail.
	Close() error
}

// Kind is what is wrong with a store. It is an error so that errors.Is(err, store.Locked) tells it.
type Kind string

const (
	Locked      Kind = "locked"      // another process holds it
	Full        Kind = "full"        // no room to write; what is there can be read
	Corrupt     Kind = "corrupt"     // damaged, truncated, or no store of ours
	Newer       Kind = "newer"       // written by a version of Roost that this one cannot follow
	ReadOnly    Kind = "read_only"   // may be read, not written
	Conflict    Kind = "conflict"    // not at the revision that the caller knows
	Unavailable Kind = "unavailable" // anything else: gone, unreadable, closed
)

// Error says what happened and what to do.
func (k Kind) Error() string {
	switch k {
	case Locked:
		return "another process holds it locked: wait for that process, or end it"
	case Full:
		return "there is no room to write: free some, no restart is needed"
	case Corrupt:
		return "it is damaged, or was never made by roost: restore a backup, or move it away to start with a new one"
	case Newer:
		return "a newer version of roost wrote it: run that version, or restore a backup from before it"
	case ReadOnly:
		return "it may not be written: make the file and its directory writable for the user that roost runs as"
	case Conflict:
		return "somebody else changed it meanwhile: look again, and repeat the change"
	}
	return "it cannot be used"
}

// Error is a failure of a store.
type Error struct {
	Kind  Kind
	Store string // which one, for people
	Err   error  // what was being done, and what came of it
}

func (e *Error) Error() string { return e.Store + ": " + e.Kind.Error() + ": " + e.Err.Error() }

func (e *Error) Unwrap() []error { return []error{e.Kind, e.Err} }

// KindOf is the kind of a failure; Unavailable for errors that are not a store's.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Unavailable
}
