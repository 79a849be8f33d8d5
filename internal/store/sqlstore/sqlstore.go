// Package sqlstore keeps a store in a SQLite database, and reads fnlb's table of nodes.
//
// Guarantee: see package store. Nothing of the file is kept between two calls, neither open nor cached: what is damaged,
// replaced or taken away is seen at once, and what is repaired works again without a restart.
//
// Trap: a file is for one balancer. Locks make a second one wait and then fail; they do not make sharing work.
package sqlstore

import (
	"context"
	"errors"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"roost/internal/store"
)

// Open opens the store at path; when there is no file, it makes one.
func Open(ctx context.Context, path string) (store.Store, error) {
	return nil, errors.New("sqlite: not in this build yet")
}
