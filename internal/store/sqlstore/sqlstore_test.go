package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
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
	"roost/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		saveForEver(path)
	}
	os.Exit(m.Run())
}

func open(t testing.TB, path string) *database {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	d := s.(*database)
	d.wait = 50 * time.Millisecond
	return d
}

func fresh(t testing.TB) *database { return open(t, filepath.Join(t.TempDir(), "roost.db")) }

// edits at a revision are told from those at any other by every one of their n nodes.
func edits(rev uint64, n int) *roost.Edits {
	p := roost.PoolEdits{Weights: map[roost.NodeID]uint32{}}
	for i := range n {
		id := roost.NodeID(fmt.Sprintf("node-%d", i))
		p.Weights[id] = uint32(rev)
		p.Nodes = append(p.Nodes, roost.Node{ID: id, Addr: fmt.Sprintf("%s:%d", id, rev), Weight: uint32(rev)})
	}
	slices.SortFunc(p.Nodes, func(a, b roost.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return &roost.Edits{Rev: rev, Pools: map[roost.PoolID]roost.PoolEdits{"p": p}}
}

// revOf tells the revision that edits are those of, all of them.
func revOf(e *roost.Edits, n int) (uint64, error) {
	p := e.Pools["p"]
	if e.Rev == 0 && len(p.Nodes) == 0 {
		return 0, nil
	}
	if len(p.Nodes) != n || len(p.Weights) != n {
		return 0, fmt.Errorf("%d nodes and %d weights, want %d", len(p.Nodes), len(p.Weights), n)
	}
	for _, node := range p.Nodes {
		if uint64(node.Weight) != e.Rev || uint64(p.Weights[node.ID]) != e.Rev {
			return 0, fmt.Errorf("revision %d holds %+v", e.Rev, node)
		}
	}
	return e.Rev, nil
}

func save(t testing.TB, s store.Store, rev uint64) {
	t.Helper()
	if err := s.Save(t.Context(), edits(rev-1, 3*int(min(rev-1, 1))), edits(rev, 3)); err != nil {
		t.Fatal(err)
	}
}

// stands fails unless the store works and is at a revision.
func stands(t testing.TB, s store.Store, rev uint64) {
	t.Helper()
	e, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := revOf(e, 3); err != nil || got != rev {
		t.Fatalf("revision %d (%v), want %d", got, err, rev)
	}
}

// fails checks an error's kind, that it names the store, and its words.
func fails(t testing.TB, err error, s *database, kind store.Kind, words ...string) {
	t.Helper()
	if err == nil || store.KindOf(err) != kind || !errors.Is(err, kind) {
		t.Errorf("%v, want one that is %s", err, string(kind))
		return
	}
	for _, w := range append(words, s.path) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestSQLiteKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return fresh(t) })
}

func TestWhatWasSavedOutlivesTheStore(t *testing.T) {
	s := fresh(t)
	save(t, s, 1)
	if err := s.SaveTable(t.Context(), "p", []byte("table")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, s.path)
	stands(t, again, 1)
	if tables, err := again.Tables(t.Context()); err != nil || string(tables["p"]) != "table" {
		t.Errorf("tables %q, %v", tables, err)
	}
	if again.ID() != s.ID() {
		t.Errorf("id %x became %x", s.ID(), again.ID())
	}
}

func TestItsOwnerAloneMayReadIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "roost")
	s := open(t, filepath.Join(dir, "a %41?#&;.db")) // no part of a path is taken for anything else
	mode := func(path string) fs.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	err := s.do(t.Context(), write, "test", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO tables VALUES ('p', x'00')")
		if got := mode(s.path + "-journal"); got != 0o600 {
			t.Errorf("its journal has mode %o", got)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := mode(s.path); got != 0o600 {
		t.Errorf("it has mode %o", got)
	}
	if got := mode(dir); got != 0o700 {
		t.Errorf("its directory has mode %o", got)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("beside it stand %v, %v", entries, err)
	}
}

func TestItSyncsAllAndLeavesNoLogBesideIt(t *testing.T) {
	s := fresh(t)
	other := raw(t, s.path)
	if _, err := other.Exec("PRAGMA journal_mode = WAL"); err != nil {
		t.Fatal(err)
	}
	other.Close()
	save(t, s, 1)
	var journal string
	var sync int
	err := s.do(t.Context(), read, "test", func(ctx context.Context, tx *sql.Tx) error {
		return errors.Join(tx.QueryRow("PRAGMA journal_mode").Scan(&journal), tx.QueryRow("PRAGMA synchronous").Scan(&sync))
	})
	if err != nil || journal != "delete" || sync != 3 {
		t.Errorf("journal_mode %s, synchronous %d, %v", journal, sync, err)
	}
}

func TestAllThatOpenANewStoreFindOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roost.db")
	ids := make([]roost.StoreID, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = s.ID()
			s.Close()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("ids %x", ids)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestMigrationTakesAllMissingStepsOrNone(t *testing.T) {
	s := fresh(t)
	migrateBy := func(steps ...string) error {
		return s.do(t.Context(), write, "migrate", func(ctx context.Context, tx *sql.Tx) error {
			return migrate(ctx, tx, append(schema(), steps...))
		})
	}
	look := func(query string) (n int) {
		t.Helper()
		err := s.do(t.Context(), read, "look", func(ctx context.Context, tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, query).Scan(&n)
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const extra = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'extra%'"
	if err := migrateBy("CREATE TABLE extra1 (a)", "CREATE TABLE extra2 (a); nonsense"); err == nil {
		t.Fatal("a step that cannot be taken is no error")
	}
	if n, v := look(extra), look("PRAGMA user_version"); n != 0 || v != len(schema()) {
		t.Errorf("half a migration: %d tables, version %d", n, v)
	}
	for range 2 { // the second time nothing is missing
		if err := migrateBy("CREATE TABLE extra1 (a)", "CREATE TABLE extra2 (a)"); err != nil {
			t.Fatal(err)
		}
	}
	if n, v := look(extra), look("PRAGMA user_version"); n != 2 || v != len(schema())+2 {
		t.Errorf("%d tables, version %d", n, v)
	}
}

// raw is another program's connection to the file.
func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func BenchmarkStore(b *testing.B) {
	for _, n := range []int{3, 1000} {
		s := open(b, filepath.Join(b.TempDir(), "roost.db"))
		now := edits(1, n)
		if err := s.Save(b.Context(), nil, now); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("Save one of %d", n), func(b *testing.B) {
			for b.Loop() {
				next := edits(now.Rev+1, n)
				for i := range next.Pools["p"].Nodes[1:] { // all but the first stay
					next.Pools["p"].Nodes[i+1] = now.Pools["p"].Nodes[i+1]
				}
				next.Pools["p"] = roost.PoolEdits{Nodes: next.Pools["p"].Nodes, Weights: now.Pools["p"].Weights}
				if err := s.Save(b.Context(), now, next); err != nil {
					b.Fatal(err)
				}
				now = next
			}
		})
		b.Run(fmt.Sprintf("Save all of %d", n), func(b *testing.B) {
			for b.Loop() {
				next := edits(now.Rev+1, n)
				if err := s.Save(b.Context(), now, next); err != nil {
					b.Fatal(err)
				}
				now = next
			}
		})
		b.Run(fmt.Sprintf("Load %d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Load(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	s := fresh(b)
	b.Run("SaveTable 400 KB", func(b *testing.B) {
		table := make([]byte, 400_000)
		for b.Loop() {
			rand.Read(table)
			if err := s.SaveTable(b.Context(), "p", table); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			again, err := Open(b.Context(), s.path)
			if err != nil {
				b.Fatal(err)
			}
			again.Close()
		}
	})
}
