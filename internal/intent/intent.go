// Package intent folds what operators and node sources want into pools: Merge lays edits and listings over the
// configuration, Apply makes one change to the edits.
//
// Guarantee: both are pure. Merge never fails: what cannot be used is left out with a note. What Apply accepts, Merge
// and place.Build take.
//
// Trap: edits are wishes, kept apart from what they are about. A wish about a node that nobody lists any more stays, and
// comes true when the node returns.
package intent

import "roost"

// Merge gives the pools that are in force at now (Unix nanoseconds), in the order of cfg.Pools, and for each pool what of
// the edits and listings could not be used, and why.
func Merge(cfg *roost.Config, e *roost.Edits, listed []roost.Listing, now int64) (pools []roost.Pool, notes map[roost.PoolID][]string) {
	return cfg.Pools, nil
}

// Apply makes one change. It returns e itself when nothing changes, else new edits with the next Rev; e is not touched.
// The error is a *roost.ChangeError.
func Apply(cfg *roost.Config, e *roost.Edits, listed []roost.Listing, c roost.Change) (*roost.Edits, error) {
	return e, nil
}
