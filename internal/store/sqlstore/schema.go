package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"roost"
	"roost/internal/store"
)

// application is "Rost", by which SQLite files say whose they are. It never changes.
const application = 0x526f7374

// schema returns what leads from each version of the schema to the next. A step that was released is never changed. The
// version counts the steps; a binary refuses files with more of them than it knows.
func schema() []string {
	return []string{`
		CREATE TABLE store (
			one INTEGER PRIMARY KEY CHECK (one = 1),
			id BLOB NOT NULL,
			revision INTEGER NOT NULL
		) STRICT;
		INSERT INTO store (one, id, revision) VALUES (1, randomblob(16), 0);
		CREATE TABLE edits (
			kind TEXT NOT NULL,
			pool TEXT NOT NULL,
			name TEXT NOT NULL,
			value TEXT NOT NULL,
			PRIMARY KEY (kind, pool, name)
		) STRICT, WITHOUT ROWID;
		CREATE TABLE tables (
			pool TEXT NOT NULL PRIMARY KEY,
			encoded BLOB NOT NULL
		) STRICT;
		PRAGMA application_id = ` + fmt.Sprint(application) + `;`,
	}
}

// migrate takes the steps that are missing, all or none.
func migrate(ctx context.Context, tx *sql.Tx, steps []string) error {
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	for ; version < len(steps); version++ {
		if _, err := tx.ExecContext(ctx, steps[version]+fmt.Sprintf(";PRAGMA user_version = %d", version+1)); err != nil {
			return err
		}
	}
	return nil
}

// version tells the version of the file's schema, if it is a whole file of Roost's that this binary knows.
func (s *database) version(ctx context.Context, tx *sql.Tx) (int, error) {
	var app, version, pages, pageSize int64
	for pragma, v := range map[string]*int64{"application_id": &app, "user_version": &version, "page_count": &pages, "page_size": &pageSize} {
		if err := tx.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(v); err != nil {
			return 0, err
		}
	}
	info, err := os.Stat(s.path) // under a lock by now: nobody is writing
	if err != nil {
		return 0, err
	}
	switch {
	case pages == 0:
		return 0, &store.Error{Kind: store.Corrupt, Err: errors.New("the file is empty")}
	case info.Size()%pageSize != 0: // SQLite would take zeros for what is missing of the last page
		return 0, &store.Error{Kind: store.Corrupt, Err: errors.New("the file is cut off")}
	case app != application || version < 1:
		return 0, &store.Error{Kind: store.Corrupt, Err: errors.New("the database is another program's")}
	case version > int64(len(schema())):
		return 0, &store.Error{Kind: store.Newer, Err: fmt.Errorf("its schema is version %d, this binary knows %d", version, len(schema()))}
	}
	return int(version), nil
}

// identity reads which store a file holds, and its revision.
func identity(ctx context.Context, tx *sql.Tx) (id roost.StoreID, rev uint64, err error) {
	found := 0
	err = each(ctx, tx, "SELECT id, revision FROM store", func(rows *sql.Rows) error {
		var b []byte
		var signed int64
		err := rows.Scan(&b, &signed)
		if err == nil && (len(b) != len(id) || signed < 0) {
			err = fmt.Errorf("its id has %d bytes, its revision is %d", len(b), signed)
		}
		copy(id[:], b)
		rev = uint64(signed)
		found++
		return err
	})
	if err == nil && found != 1 {
		err = &store.Error{Kind: store.Corrupt, Err: errors.New("it has no id")}
	}
	return id, rev, err
}
