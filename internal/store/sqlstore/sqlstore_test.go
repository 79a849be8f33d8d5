package sqlstore

import (
	"path/filepath"
	"testing"

	"roost/internal/store"
	"roost/internal/store/storetest"
)

func open(t testing.TB, path string) *database {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(*database)
}

func fresh(t testing.TB) *database { return open(t, filepath.Join(t.TempDir(), "roost.db")) }

func TestSQLiteKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return fresh(t) })
}
