package sqlstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roost/internal/store"
)

func TestLockedStoreSaysSoAndWorksAgainAfterwards(t *testing.T) {
	s := fresh(t)
	save(t, s, 1)
	other := raw(t, s.path)
	if _, err := other.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Load(t.Context())
	fails(t, err, s, store.Locked, "end it")
	fails(t, s.Save(t.Context(), edits(1, 3), edits(2, 3)), s, store.Locked)
	fails(t, s.SaveTable(t.Context(), "p", []byte("t")), s, store.Locked)

	start := time.Now()
	_, err = Open(t.Context(), s.path)
	fails(t, err, s, store.Locked)
	if took := time.Since(start); took < lockWait || took > 2*lockWait {
		t.Errorf("Open gave up after %v, want %v", took, lockWait)
	}
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	stands(t, s, 1)
	save(t, s, 2)
	stands(t, s, 2)
}

func TestReaderElsewhereHoldsUpOnlySaves(t *testing.T) {
	s := fresh(t)
	save(t, s, 1)
	other := raw(t, s.path)
	if _, err := other.Exec("BEGIN; SELECT * FROM edits"); err != nil {
		t.Fatal(err)
	}
	fails(t, s.Save(t.Context(), edits(1, 3), edits(2, 3)), s, store.Locked)
	stands(t, s, 1)
	if _, err := other.Exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	save(t, s, 2)
}

func TestSaveWaitsForALockThatIsLetGo(t *testing.T) {
	s := fresh(t)
	s.wait = time.Minute
	other := raw(t, s.path)
	if _, err := other.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	released := make(chan error, 1)
	time.AfterFunc(100*time.Millisecond, func() {
		_, err := other.Exec("ROLLBACK")
		released <- err
	})
	save(t, s, 1)
	if err := <-released; err != nil {
		t.Fatal(err)
	}
}

func TestWaitingForALockEndsWithTheContext(t *testing.T) {
	s := fresh(t)
	s.wait = time.Hour
	other := raw(t, s.path)
	if _, err := other.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Save(ctx, nil, edits(1, 3)); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), s.path) {
		t.Errorf("%v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	go func() { _, err := s.Load(ctx); first <- err }()
	go func() { _, err := s.Tables(ctx); second <- err }() // waits for the turn of the first, or the other way round
	cancel()
	for _, c := range []chan error{first, second} {
		if err := <-c; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
}

// A disk that hangs cannot be asked to stop.
func TestCallsEndWithTheirContextsWhileTheDiskHangs(t *testing.T) {
	s := fresh(t)
	hang, begun := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		first <- s.do(ctx, write, "hang", func(context.Context, *sql.Tx) error {
			close(begun)
			<-hang
			return nil
		})
	}()
	<-begun
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the call under way: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Save(ctx, nil, edits(1, 3)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the next one: %v", err)
	}
	close(hang)
	save(t, s, 1)
	stands(t, s, 1)
}

func TestSaveThatIsBrokenOffIsWholeOrNotAtAll(t *testing.T) {
	s := fresh(t)
	const n = 400
	now := edits(1, n)
	if err := s.Save(t.Context(), nil, now); err != nil {
		t.Fatal(err)
	}
	broken := 0
	for i := range 30 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
		next := edits(now.Rev+1, n)
		err := s.Save(ctx, now, next)
		cancel()
		e, loadErr := s.Load(t.Context())
		if loadErr != nil {
			t.Fatal(loadErr)
		}
		rev, wrong := revOf(e, n)
		switch {
		case wrong != nil:
			t.Fatal(wrong)
		case err == nil && rev == next.Rev:
			now = next
		case errors.Is(err, context.DeadlineExceeded) && rev == now.Rev:
			broken++
		case errors.Is(err, context.DeadlineExceeded) && rev == next.Rev: // committed, and nobody was told
			now = next
		default:
			t.Fatalf("%v, and it is at revision %d after %d", err, rev, now.Rev)
		}
	}
	if broken == 0 {
		t.Error("none was broken off")
	}
}

func TestFullStoreSaysSoAndLosesNothing(t *testing.T) {
	s := fresh(t)
	save(t, s, 1)
	info, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	full := newStore(s.path, fmt.Sprintf("max_page_count(%d)", info.Size()/4096))
	defer full.Close()
	full.id = s.id
	fails(t, full.SaveTable(t.Context(), "p", make([]byte, 100_000)), s, store.Full, "free some")
	fails(t, full.Save(t.Context(), edits(1, 3), edits(2, 3000)), s, store.Full)
	stands(t, full, 1)
	save(t, s, 2)
	stands(t, full, 2)
}

// damages are what may happen to a file. Each makes it no store.
func damages(t *testing.T) map[string]func(path string) error {
	other := raw(t, filepath.Join(t.TempDir(), "other.db"))
	if _, err := other.Exec("CREATE TABLE apps (id); PRAGMA user_version = 1"); err != nil {
		t.Fatal(err)
	}
	var otherPath string
	if err := other.QueryRow("SELECT file FROM pragma_database_list").Scan(&otherPath); err != nil {
		t.Fatal(err)
	}
	scribble := func(from, n int64) func(string) error {
		return func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			b := make([]byte, n)
			rand.Read(b)
			_, err = f.WriteAt(b, from)
			return errors.Join(err, f.Close())
		}
	}
	d := map[string]func(string) error{
		"cut to nothing":    func(path string) error { return os.Truncate(path, 0) },
		"cut in its head":   func(path string) error { return os.Truncate(path, 50) },
		"cut to a page":     func(path string) error { return os.Truncate(path, 4096) },
		"cut by a byte":     func(path string) error { return os.Truncate(path, size(t, path)-1) },
		"a text":            func(path string) error { return os.WriteFile(path, []byte("state: /var/lib/roost\n"), 0o600) },
		"another database":  func(path string) error { return copyFile(otherPath, path) },
		"noise":             func(path string) error { return scribble(0, size(t, path))(path) },
		"noise in its head": scribble(0, 100),
	}
	for page := range int64(4) { // of the schema, the store, the edits, the tables
		d[fmt.Sprintf("noise in page %d", page+1)] = scribble(4096*page, 4096)
	}
	return d
}

func size(t *testing.T, path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

func TestDamagedFileDoesNotOpen(t *testing.T) {
	for name, damage := range damages(t) {
		s := fresh(t)
		save(t, s, 1)
		s.Close()
		if err := damage(s.path); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(s.path)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Open(t.Context(), s.path)
		if err == nil {
			again.Close()
			t.Errorf("%s: it opens", name)
			continue
		}
		fails(t, err, s, store.Corrupt, "restore a backup")
		t.Logf("%s: %v", name, err)
		if after, _ := os.ReadFile(s.path); !bytes.Equal(before, after) {
			t.Errorf("%s: opening it changed it", name)
		}
	}
}

func TestDamageUnderAnOpenStoreIsSeenAtOnceAndRepairToo(t *testing.T) {
	for name, damage := range damages(t) {
		s := fresh(t)
		save(t, s, 1)
		if err := s.SaveTable(t.Context(), "p", []byte("table")); err != nil {
			t.Fatal(err)
		}
		whole, err := os.ReadFile(s.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := damage(s.path); err != nil {
			t.Fatal(err)
		}
		_, loadErr := s.Load(t.Context())
		_, tablesErr := s.Tables(t.Context())
		if loadErr == nil && tablesErr == nil {
			t.Errorf("%s: it loads", name)
		}
		for _, err := range []error{loadErr, tablesErr} {
			if err != nil {
				fails(t, err, s, store.Corrupt, "restore a backup")
			}
		}
		if err := os.WriteFile(s.path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		stands(t, s, 1)
		save(t, s, 2)
	}
}

func TestNewerSchemaIsRefusedAtOpenAndLater(t *testing.T) {
	s := fresh(t)
	save(t, s, 1)
	other := raw(t, s.path)
	bump := func(by int) {
		if _, err := other.Exec(fmt.Sprintf("PRAGMA user_version = %d", len(schema())+by)); err != nil {
			t.Fatal(err)
		}
	}
	bump(1)
	_, err := Open(t.Context(), s.path)
	fails(t, err, s, store.Newer, "version 2", "run that version")
	_, err = s.Load(t.Context())
	fails(t, err, s, store.Newer)
	_, err = s.Tables(t.Context())
	fails(t, err, s, store.Newer)
	fails(t, s.Save(t.Context(), edits(1, 3), edits(2, 3)), s, store.Newer)
	fails(t, s.SaveTable(t.Context(), "p", nil), s, store.Newer)
	bump(0)
	stands(t, s, 1)
	save(t, s, 2)
}

func TestRecordsOfANewerVersionAreRefusedAndStay(t *testing.T) {
	for name, c := range map[string]struct {
		kind, id, value string
		want            store.Kind
	}{
		"a kind that is unknown":  {"ban", "n", "{}", store.Newer},
		"a field that is unknown": {"weight", "n", `{"weight":1,"until":5}`, store.Newer},
		"a hold that is unknown":  {"hold", "n", `{"kind":"parked","cause":"","wall":0}`, store.Newer},
		"no JSON":                 {"weight", "n", `{"weight":`, store.Corrupt},
		"no object":               {"weight", "n", `null`, store.Corrupt},
		"two values":              {"weight", "n", `{"weight":1}{"weight":2}`, store.Corrupt},
		"a weight too large":      {"weight", "n", `{"weight":5000000000}`, store.Corrupt},
		"a pin of another key":    {"pin", "n", `{"key":"k","homes":1}`, store.Corrupt},
	} {
		s := fresh(t)
		save(t, s, 1)
		other := raw(t, s.path)
		if _, err := other.Exec("INSERT INTO edits VALUES (?, 'p', ?, ?)", c.kind, c.id, c.value); err != nil {
			t.Fatal(err)
		}
		_, err := s.Load(t.Context())
		fails(t, err, s, c.want, c.kind+` "n" of pool "p"`)
		t.Logf("%s: %v", name, err)
		if err := s.Save(t.Context(), edits(1, 3), edits(2, 3)); err != nil { // what is unknown is in nobody's way
			t.Error(err)
		}
		var n int
		if err := other.QueryRow("SELECT count(*) FROM edits WHERE kind = ? AND name = 'n'", c.kind).Scan(&n); err != nil || n != 1 {
			t.Errorf("%s: it is gone (%v)", name, err)
		}
		if _, err := other.Exec("DELETE FROM edits WHERE kind = ? AND name = 'n'", c.kind); err != nil {
			t.Fatal(err)
		}
		stands(t, s, 2)
	}
}

func TestFileThatIsGoneOrAnotherIsNotTakenForTheStore(t *testing.T) {
	s, stranger := fresh(t), fresh(t)
	save(t, s, 1)
	backup := s.path + ".backup"
	if err := copyFile(s.path, backup); err != nil {
		t.Fatal(err)
	}
	save(t, s, 2)
	aside := s.path + ".aside"
	if err := os.Rename(s.path, aside); err != nil {
		t.Fatal(err)
	}
	_, err := s.Load(t.Context())
	fails(t, err, s, store.Unavailable, "gone", "put it back")
	fails(t, s.Save(t.Context(), edits(2, 3), edits(3, 3)), s, store.Unavailable, "gone")
	if _, err := os.Stat(s.path); err == nil {
		t.Fatal("a save made a new file")
	}

	if err := os.Mkdir(s.path, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = s.Load(t.Context())
	fails(t, err, s, store.Unavailable)
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}

	if err := os.Rename(stranger.path, s.path); err != nil {
		t.Fatal(err)
	}
	_, err = s.Load(t.Context())
	fails(t, err, s, store.Unavailable, "another store", "restart")
	fails(t, s.SaveTable(t.Context(), "p", nil), s, store.Unavailable, "another store")

	if err := os.Rename(backup, s.path); err != nil {
		t.Fatal(err)
	}
	fails(t, s.Save(t.Context(), edits(2, 3), edits(3, 3)), s, store.Conflict, "it is at 1")
	stands(t, s, 1) // a backup is the same store

	if err := os.Rename(aside, s.path); err != nil {
		t.Fatal(err)
	}
	stands(t, s, 2)
	save(t, s, 3)
}

func TestPlaceThatCannotHoldAStore(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string]string{
		dir:                             "no regular file",
		filepath.Join(file, "roost.db"): "not a directory",
		filepath.Join(dir, strings.Repeat("n", 300)): "too long",
	} {
		s, err := Open(t.Context(), path)
		if err == nil {
			s.Close()
			t.Errorf("%s opens", path)
			continue
		}
		fails(t, err, &database{file: newFile("", path, url.Values{})}, store.Unavailable, words)
	}
}
