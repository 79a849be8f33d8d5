package sqlstore

import (
	"os"
	"path/filepath"
	"testing"

	"roost/internal/store"
)

func TestWithoutTheRightToWriteItIsReadOnly(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write to everything")
	}
	s := fresh(t)
	save(t, s, 1)
	for path, mode := range map[string]os.FileMode{s.path: 0o400, filepath.Dir(s.path): 0o500} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		fails(t, s.Save(t.Context(), edits(1, 3), edits(2, 3)), s, store.ReadOnly, "writable")
		stands(t, open(t, s.path), 1)
		if err := os.Chmod(path, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	save(t, s, 2)
}
