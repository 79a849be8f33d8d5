package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"roost"
	"roost/internal/store"
)

// LbNodes is fnlb's table of nodes, lb_nodes. Other balancers and fn's own tables may share its database. Its methods may
// be called at the same time; their errors are a store's, and *store.Error tells them apart.
type LbNodes struct {
	*file
}

// OpenLbNodes opens the database that fnlb's flag -db names, and makes file, directories and table where they are
// missing: sqlite3:///absolute/path for a file, sqlite3://:memory: for nodes that end with the process. As in fnlb, the
// URL is taken as it is written, without escapes. Parameters behind a ? are passed over.
func OpenLbNodes(ctx context.Context, text string) (*LbNodes, error) {
	driver, path, _ := strings.Cut(text, "://")
	switch driver {
	case "sqlite3":
	case "postgres", "pgx", "mysql", "oci8", "ora", "goracle":
		return nil, fmt.Errorf("open lb_nodes: databases of %s are not in this build yet: use sqlite3:///path/of/a/file", driver)
	default:
		return nil, errors.New("invalid db driver, refer to the code") // fnlb's words
	}
	path, _, _ = strings.Cut(path, "?")
	if path != ":memory:" && !filepath.IsAbs(path) {
		return nil, fmt.Errorf("open lb_nodes: %q is no absolute path: use sqlite3://:memory: or sqlite3:///path/of/a/file", path)
	}
	name := "lb_nodes in " + path
	if path == ":memory:" {
		path = ""
	} else if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, (&file{name: name}).fault(ctx, "open it", err)
	}
	l := &LbNodes{newFile(name, path, url.Values{})}
	if path == "" { // its only connection is the database
		l.db.SetMaxOpenConns(1)
		l.db.SetMaxIdleConns(1)
	} else {
		l.db.SetMaxIdleConns(-1)
	}
	if err := l.exec(ctx, "open it", "CREATE TABLE IF NOT EXISTS lb_nodes (address text NOT NULL PRIMARY KEY)"); err != nil {
		l.db.Close()
		return nil, err
	}
	return l, nil
}

// List returns the addresses, sorted. More than roost.MaxNodes are an error.
func (l *LbNodes) List(ctx context.Context) ([]string, error) {
	var addresses []string
	err := l.do(ctx, read, "list nodes", func(ctx context.Context, tx *sql.Tx) error {
		addresses = []string{}
		return each(ctx, tx, "SELECT DISTINCT address FROM lb_nodes ORDER BY address", func(rows *sql.Rows) error {
			var address string
			err := rows.Scan(&address)
			if addresses = append(addresses, address); len(addresses) > roost.MaxNodes {
				return &store.Error{Kind: store.Unavailable, Err: fmt.Errorf("it has more than %d nodes", roost.MaxNodes)}
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return addresses, nil
}

// Add adds an address. One that is there stays, without an error.
func (l *LbNodes) Add(ctx context.Context, address string) error {
	return l.exec(ctx, "add node", "INSERT INTO lb_nodes (address) VALUES (?) ON CONFLICT DO NOTHING", address)
}

// Remove removes an address. That one is not there is no error.
func (l *LbNodes) Remove(ctx context.Context, address string) error {
	return l.exec(ctx, "remove node", "DELETE FROM lb_nodes WHERE address = ?", address)
}

func (l *LbNodes) exec(ctx context.Context, doing, statement string, args ...any) error {
	return l.do(ctx, write, doing, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statement, args...)
		return err
	})
}
