package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"roost"
	"roost/internal/store"
)

func openLb(t *testing.T, url string) *LbNodes {
	t.Helper()
	l, err := OpenLbNodes(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	l.wait = 50 * time.Millisecond
	return l
}

func lists(t *testing.T, l *LbNodes, want ...string) {
	t.Helper()
	got, err := l.List(t.Context())
	if err != nil || got == nil || !slices.Equal(got, want) {
		t.Errorf("lists %q, %v, want %q", got, err, want)
	}
}

func TestLbNodesAreAddedOnceAndRemoved(t *testing.T) {
	for _, url := range []string{"sqlite3://:memory:", "sqlite3://" + filepath.Join(t.TempDir(), "data", "lb", "a %41#.db")} {
		l := openLb(t, url)
		lists(t, l)
		for _, add := range []string{"b:8080", "a:8080", "b:8080", "127.0.0.1:1"} {
			if err := l.Add(t.Context(), add); err != nil {
				t.Fatal(err)
			}
		}
		lists(t, l, "127.0.0.1:1", "a:8080", "b:8080")
		for _, remove := range []string{"a:8080", "never:1", "a:8080"} {
			if err := l.Remove(t.Context(), remove); err != nil {
				t.Fatal(err)
			}
		}
		lists(t, l, "127.0.0.1:1", "b:8080")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.List(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("List after Close: %v", err)
		}
		if l.path == "" {
			continue
		}
		lists(t, openLb(t, url+"?_busy_timeout=1"), "127.0.0.1:1", "b:8080")
		info, err := os.Stat(filepath.Dir(l.path))
		if err != nil || info.Mode().Perm()|fs.FileMode(0o022) != 0o777 { // 0755 as far as the umask lets it
			t.Errorf("its directory has mode %v, %v", info.Mode(), err)
		}
	}
}

func TestLbNodesInMemoryAreSeparateAndOutliveBrokenCalls(t *testing.T) {
	a, b := openLb(t, "sqlite3://:memory:"), openLb(t, "sqlite3://:memory:")
	if err := a.Add(t.Context(), "a:1"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
			defer cancel()
			if err := a.Remove(ctx, "other:1"); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if _, err := a.List(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	lists(t, a, "a:1")
	lists(t, b)
}

// fn's server keeps its own tables in the same file, and writes while balancers do.
func TestLbNodesShareTheFileWithFnsServer(t *testing.T) {
	for _, journal := range []string{"DELETE", "WAL"} {
		path := filepath.Join(t.TempDir(), "fn.db")
		fn := raw(t, path)
		for _, s := range []string{
			"PRAGMA journal_mode = " + journal,
			"PRAGMA busy_timeout = 5000",
			"CREATE TABLE apps (id varchar(256) NOT NULL PRIMARY KEY, name varchar(256) NOT NULL UNIQUE)",
			"CREATE TABLE lb_nodes (address text NOT NULL PRIMARY KEY)", // as fnlb made it
			"INSERT INTO lb_nodes VALUES ('old:8080')",
		} {
			if _, err := fn.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		a, b := openLb(t, "sqlite3://"+path), openLb(t, "sqlite3://"+path)
		a.wait, b.wait = time.Minute, time.Minute
		lists(t, a, "old:8080")
		const each = 20
		var wg sync.WaitGroup
		for i, l := range []*LbNodes{a, b} {
			wg.Go(func() {
				for j := range each {
					for _, address := range []string{fmt.Sprint("own-", i, "-", j, ":1"), fmt.Sprint("both-", j, ":1")} {
						if err := l.Add(t.Context(), address); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		for i := range each {
			if _, err := fn.Exec("INSERT INTO apps VALUES (?, ?)", i, i); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		if got, err := a.List(t.Context()); err != nil || len(got) != 1+3*each {
			t.Errorf("%s: %d nodes, %v", journal, len(got), err)
		}
		var apps int
		var mode string
		if err := errors.Join(fn.QueryRow("SELECT count(*) FROM apps").Scan(&apps), fn.QueryRow("PRAGMA journal_mode").Scan(&mode)); err != nil {
			t.Fatal(err)
		}
		if apps != each || !strings.EqualFold(mode, journal) {
			t.Errorf("%s: %d apps, journal %s", journal, apps, mode)
		}
	}
}

func TestLbNodesListEachAddressOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lb.db")
	other := raw(t, path)
	if _, err := other.Exec("CREATE TABLE lb_nodes (address text); INSERT INTO lb_nodes VALUES ('a:1'), ('a:1')"); err != nil {
		t.Fatal(err)
	}
	lists(t, openLb(t, "sqlite3://"+path), "a:1")
}

func TestLbNodesListIsBounded(t *testing.T) {
	l := openLb(t, "sqlite3://:memory:")
	const count = "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?) INSERT INTO lb_nodes SELECT 'n:' || i FROM c"
	if err := l.exec(t.Context(), "fill", count, roost.MaxNodes); err != nil {
		t.Fatal(err)
	}
	if got, err := l.List(t.Context()); err != nil || len(got) != roost.MaxNodes {
		t.Errorf("%d nodes, %v", len(got), err)
	}
	if err := l.Add(t.Context(), "one:more"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.List(t.Context()); err == nil || !strings.Contains(err.Error(), "more than 65535 nodes") {
		t.Errorf("one more: %v", err)
	}
}

func TestLbNodesFailAsAStoreDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lb.db")
	l := openLb(t, "sqlite3://"+path)
	other := raw(t, path)
	if _, err := other.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	if err := l.Add(t.Context(), "a:1"); !errors.Is(err, store.Locked) || !strings.Contains(err.Error(), path) {
		t.Errorf("locked: %v", err)
	}
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := l.Add(t.Context(), "a:1"); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("no database, but a text of some length"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.List(t.Context()); !errors.Is(err, store.Corrupt) {
		t.Errorf("damaged: %v", err)
	}
	if _, err := OpenLbNodes(t.Context(), "sqlite3://"+path); !errors.Is(err, store.Corrupt) {
		t.Errorf("damaged at open: %v", err)
	}
}

func TestLbNodesOfOtherDatabases(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://fn:secret@db:5432/fn?sslmode=disable": "postgres are not in this build yet",
		"pgx://fn:secret@db/fn":                           "pgx are not in this build yet",
		"mysql://fn:secret@tcp(db:3306)/fn":               "mysql are not in this build yet",
		"oci8://fn:secret@db/fn":                          "oci8 are not",
		"ora://fn:secret@db/fn":                           "ora are not",
		"goracle://fn:secret@db/fn":                       "goracle are not",
		"mongodb://fn:secret@db/fn":                       "invalid db driver, refer to the code",
		"k8s":                                             "invalid db driver, refer to the code",
		"":                                                "invalid db driver, refer to the code",
		"sqlite3://rel/x.db":                              "no absolute path",
		"sqlite3://":                                      "no absolute path",
		"sqlite3":                                         "no absolute path",
	} {
		l, err := OpenLbNodes(t.Context(), url)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}
