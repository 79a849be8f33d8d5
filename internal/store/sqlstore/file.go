package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"syscall"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"roost/internal/store"
)

const (
	// lockWait is how long a call waits for other processes' locks. An honest transaction is shorter, a command line
	// that looks into the file included.
	lockWait = 2 * time.Second
	// lockPoll is the longest pause between two looks at a lock.
	lockPoll = 50 * time.Millisecond
)

// mode is what a transaction may do.
type mode bool

const (
	read  mode = true
	write mode = false // alone: once it has begun it waits for no lock any more
)

// file runs transactions on a SQLite file, one at a time.
type file struct {
	name string // for errors
	path string // "": in memory
	db   *sql.DB
	wait time.Duration // for locks

	turn   chan struct{} // holds a token while a call is under way
	closed bool          // belongs to whoever has the turn
}

func newFile(name, path string, options url.Values) *file {
	dsn := url.URL{Scheme: "file", Path: path}
	if path == "" {
		dsn = url.URL{Scheme: "file", Opaque: ":memory:"}
	}
	options.Set("_txlock", "exclusive") // but for those that only read
	options.Set("_error_rc", "true")    // errors come with no other's message
	dsn.RawQuery = options.Encode()
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		panic(err) // there is no driver of that name
	}
	return &file{name: name, path: path, db: db, wait: lockWait, turn: make(chan struct{}, 1)}
}

// do runs run in a transaction, and again while other processes hold locks, at most for f.wait. It returns when its
// context ends, even where a disk hangs; what is under way then ends by itself, and later calls wait for it. What run
// writes to may thus be read only when do returned nil.
func (f *file) do(ctx context.Context, mode mode, doing string, run func(context.Context, *sql.Tx) error) error {
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return f.fault(ctx, doing, ctx.Err())
	}
	if f.closed {
		<-f.turn
		return f.fault(ctx, doing, errors.New("it is closed"))
	}
	done := make(chan error, 1)
	go func() { // Close waits for it
		err := f.patiently(ctx, mode, run)
		<-f.turn
		done <- err
	}()
	select {
	case err := <-done:
		return f.fault(ctx, doing, err)
	case <-ctx.Done():
		return f.fault(ctx, doing, ctx.Err())
	}
}

// patiently waits for locks itself: SQLite's own waiting (busy_timeout) does not end with a context.
func (f *file) patiently(ctx context.Context, mode mode, run func(context.Context, *sql.Tx) error) error {
	end := time.NewTimer(f.wait)
	defer end.Stop()
	for pause := time.Millisecond; ; pause = min(2*pause, lockPoll) {
		err := f.once(ctx, mode, run)
		if kindOf(err) != store.Locked {
			return err
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
			continue
		case <-end.C:
		case <-ctx.Done():
		}
		again.Stop()
		return err
	}
}

func (f *file) once(ctx context.Context, mode mode, run func(context.Context, *sql.Tx) error) error {
	tx, err := f.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: bool(mode)})
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after a commit
	if err := run(ctx, tx); err != nil || mode == read {
		return err
	}
	return tx.Commit()
}

// Close waits for a call under way.
func (f *file) Close() error {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	f.closed = true
	return f.db.Close()
}

// each calls scan for every row of a query. What does not scan is damaged.
func each(ctx context.Context, tx *sql.Tx, query string, scan func(*sql.Rows) error) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		err := scan(rows)
		if _, known := errors.AsType[*store.Error](err); err != nil && !known {
			err = &store.Error{Kind: store.Corrupt, Err: err}
		}
		if err != nil {
			return err
		}
	}
	return rows.Err()
}

// fault makes an error of the store's kinds.
func (f *file) fault(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %s: %w", f.name, doing, ctx.Err())
	}
	e := &store.Error{Kind: kindOf(err), Store: f.name, Err: err}
	if known, ok := errors.AsType[*store.Error](err); ok {
		e.Err = known.Err
	}
	if code(err) == sqlite3.SQLITE_CANTOPEN {
		info, missing := os.Stat(f.path)
		switch {
		case errors.Is(missing, fs.ErrNotExist):
			e.Err = errors.New("its file is gone: put it back, or restart roost to begin a new one")
		case missing != nil:
			e.Err = missing
		case !info.Mode().IsRegular():
			e.Err = errors.New("there is no regular file")
		}
	}
	e.Err = fmt.Errorf("%s: %w", doing, e.Err)
	return e
}

// kindOf sorts the errors of SQLite and of the file system.
func kindOf(err error) store.Kind {
	if e, ok := errors.AsType[*store.Error](err); ok {
		return e.Kind
	}
	switch c := code(err); c & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return store.Locked
	case sqlite3.SQLITE_FULL:
		return store.Full
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
		sqlite3.SQLITE_ERROR: // statements are fixed: a table or a column is missing
		return store.Corrupt
	case sqlite3.SQLITE_READONLY:
		if c != sqlite3.SQLITE_READONLY_DBMOVED {
			return store.ReadOnly
		}
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return store.Full
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return store.ReadOnly
	}
	return store.Unavailable
}

// code is SQLite's extended result code of an error; 0: it is not SQLite's.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}
