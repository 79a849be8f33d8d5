// Package sqlstore keeps a store in a SQLite database, and reads and writes fnlb's table of nodes.
//
// Guarantee: see package store. A store's file is opened for each call anew and nothing of it is kept in between: what is
// damaged, replaced or taken away is seen at once, and what is repaired or put back works again without a restart.
//
// Trap: a file is for one balancer. Locks make a second one wait and then fail; they do not make sharing work.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"roost"
	"roost/internal/store"
)

type database struct {
	*file
	id roost.StoreID
}

// Open opens the store at path, and brings it to this version's schema; when there is no file it makes one, which its
// owner alone may read, and the directories that lead to it. The file is checked as a whole: damage is found here, as far
// as SQLite can tell.
func Open(ctx context.Context, path string) (store.Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, &store.Error{Kind: store.Unavailable, Store: "store", Err: err}
	}
	s := newStore(path)
	if err := s.open(ctx); err != nil {
		s.db.Close() // nobody else has it: no need to wait for a disk that hangs
		return nil, err
	}
	return s, nil
}

func newStore(path string, pragmas ...string) *database {
	s := &database{file: newFile("store "+path, path, url.Values{
		"mode": {"rw"}, // the file is made by create alone
		"_pragma": append(pragmas,
			"journal_mode(DELETE)", // a log beside the file (WAL) could not be opened on a full disk
			"synchronous(EXTRA)"),  // with FULL, a loss of power may undo the last transaction
	})}
	s.db.SetMaxIdleConns(-1)
	return s
}

func (s *database) open(ctx context.Context) error {
	if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
		if err := s.create(ctx); err != nil {
			return s.fault(ctx, "make it", err)
		}
	}
	version := 0
	err := s.do(ctx, read, "check it", func(ctx context.Context, tx *sql.Tx) (err error) {
		if version, err = s.version(ctx, tx); err != nil {
			return err
		}
		return each(ctx, tx, "PRAGMA quick_check(1)", func(rows *sql.Rows) error {
			var found string
			if err := rows.Scan(&found); err != nil || found == "ok" {
				return err
			}
			return errors.New(strings.ReplaceAll(found, "\n", ": "))
		})
	})
	if err == nil && version < len(schema()) {
		err = s.do(ctx, write, "bring it to this version", func(ctx context.Context, tx *sql.Tx) error {
			return migrate(ctx, tx, schema())
		})
	}
	if err != nil {
		return err
	}
	return s.do(ctx, read, "open it", func(ctx context.Context, tx *sql.Tx) (err error) {
		s.id, _, err = identity(ctx, tx)
		return err
	})
}

// create makes the file under another name, so that under its own it is never seen empty: an empty file was truncated.
func (s *database) create(ctx context.Context) error {
	dir, name := filepath.Split(s.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, name+".new-*") // with mode 0600; SQLite gives the journal the same
	if err != nil {
		return err
	}
	f.Close()
	defer os.Remove(f.Name())
	tmp := newStore(f.Name())
	defer tmp.db.Close()
	err = tmp.do(ctx, write, "lay it out", func(ctx context.Context, tx *sql.Tx) error { return migrate(ctx, tx, schema()) })
	if err != nil {
		return err
	}
	err = os.Link(f.Name(), s.path) // unlike a rename it replaces nothing
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil // else another process was faster, and its file is as good
	}
	return os.Rename(f.Name(), s.path) // where files have one name only
}

// in runs f in a transaction of the store that was opened, if it still is that one.
func (s *database) in(ctx context.Context, mode mode, doing string, f func(ctx context.Context, tx *sql.Tx, rev uint64) error) error {
	return s.do(ctx, mode, doing, func(ctx context.Context, tx *sql.Tx) error {
		version, err := s.version(ctx, tx)
		if err != nil {
			return err
		}
		if version < len(schema()) {
			return errors.New("an older version's file has taken its place: restart roost to go on with that one")
		}
		id, rev, err := identity(ctx, tx)
		if err != nil {
			return err
		}
		if id != s.id {
			return errors.New("another store's file has taken its place: put the old one back, or restart roost to go on with this one")
		}
		return f(ctx, tx, rev)
	})
}

func (s *database) ID() roost.StoreID { return s.id }
func (s *database) Kind() string      { return "sqlite" }
func (s *database) Path() string      { return s.path }

func (s *database) Load(ctx context.Context) (*roost.Edits, error) {
	var e *roost.Edits
	err := s.in(ctx, read, "load what was changed", func(ctx context.Context, tx *sql.Tx, rev uint64) error {
		var records []store.Record
		err := each(ctx, tx, "SELECT kind, pool, name, value FROM edits", func(rows *sql.Rows) error {
			var r store.Record
			err := rows.Scan(&r.Kind, &r.Pool, &r.Name, &r.Value)
			records = append(records, r)
			return err
		})
		if err == nil {
			e, err = store.Decode(s.name, rev, records)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (s *database) Save(ctx context.Context, prev, next *roost.Edits) error {
	d, err := store.Diff(prev, next)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return s.in(ctx, write, "save a change", func(ctx context.Context, tx *sql.Tx, rev uint64) error {
		if rev != d.From {
			return d.Moved(s.name, rev)
		}
		gone, err := tx.PrepareContext(ctx, "DELETE FROM edits WHERE kind = ? AND pool = ? AND name = ?")
		if err != nil {
			return err
		}
		for _, k := range d.Gone {
			if _, err := gone.ExecContext(ctx, k.Kind, k.Pool, k.Name); err != nil {
				return err
			}
		}
		put, err := tx.PrepareContext(ctx, "INSERT INTO edits (kind, pool, name, value) VALUES (?, ?, ?, ?)"+
			" ON CONFLICT (kind, pool, name) DO UPDATE SET value = excluded.value")
		if err != nil {
			return err
		}
		for _, r := range d.New {
			if _, err := put.ExecContext(ctx, r.Kind, r.Pool, r.Name, r.Value); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, "UPDATE store SET revision = ?", int64(d.To))
		return err
	})
}

func (s *database) Tables(ctx context.Context) (map[roost.PoolID][]byte, error) {
	var tables map[roost.PoolID][]byte
	err := s.in(ctx, read, "load tables", func(ctx context.Context, tx *sql.Tx, _ uint64) error {
		tables = map[roost.PoolID][]byte{}
		return each(ctx, tx, "SELECT pool, encoded FROM tables", func(rows *sql.Rows) error {
			var pool roost.PoolID
			var encoded []byte
			err := rows.Scan(&pool, &encoded)
			tables[pool] = encoded
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return tables, nil
}

func (s *database) SaveTable(ctx context.Context, pool roost.PoolID, encoded []byte) error {
	return s.in(ctx, write, "save a table", func(ctx context.Context, tx *sql.Tx, _ uint64) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO tables (pool, encoded) VALUES (?, ?)"+
			" ON CONFLICT (pool) DO UPDATE SET encoded = excluded.encoded", pool, encoded)
		return err
	})
}
