package sqlstore

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"roost/internal/store"
)

// A file system of one's own needs a mount namespace; without root, inside a user namespace.
func TestDiskThatIsFullOrReadOnly(t *testing.T) {
	if os.Getenv("SQLSTORE_TEST_DISK") != "" {
		onItsOwnDisk(t)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestDiskThatIsFullOrReadOnly$", "-test.v")
	child.Env = append(os.Environ(), "SQLSTORE_TEST_DISK=1")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if id := os.Getuid(); id != 0 {
		child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := child.CombinedOutput()
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
		t.Skipf("this system gives no mount namespace: %v", err)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("in a namespace of its own: %v", err)
	}
}

func onItsOwnDisk(t *testing.T) {
	dir := t.TempDir()
	private := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, "") // nothing shows outside
	if err := errors.Join(private, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k")); err != nil {
		t.Skipf("this system mounts no tmpfs: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	s := open(t, filepath.Join(dir, "roost.db"))
	save(t, s, 1)
	fill := func() string {
		t.Helper()
		path := filepath.Join(dir, "filling")
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("the disk took it all: %v", err)
		}
		return path
	}

	t.Run("full", func(t *testing.T) {
		filling := fill()
		fails(t, s.Save(t.Context(), edits(1, 3), edits(2, 3)), s, store.Full, "free some")
		fails(t, s.SaveTable(t.Context(), "p", make([]byte, 50_000)), s, store.Full)
		stands(t, s, 1)
		again := open(t, s.path) // a start on a full disk
		stands(t, again, 1)
		fails(t, again.Save(t.Context(), edits(1, 3), edits(2, 3)), s, store.Full)

		other := &database{file: &file{path: filepath.Join(dir, "new", "roost.db")}}
		_, err := Open(t.Context(), other.path)
		fails(t, err, other, store.Full)
		if entries, err := os.ReadDir(filepath.Dir(other.path)); err != nil || len(entries) > 0 {
			t.Errorf("left behind: %v, %v", entries, err)
		}

		if err := os.Remove(filling); err != nil {
			t.Fatal(err)
		}
		save(t, s, 2)
		stands(t, again, 2)
	})
	t.Run("full in the middle of a save", func(t *testing.T) {
		for room := 0; ; room += 4096 { // each time a little later
			filling := fill()
			info, err := os.Stat(filling)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filling, max(0, info.Size()-int64(room))); err != nil {
				t.Fatal(err)
			}
			err = s.SaveTable(t.Context(), "p", make([]byte, 20_000))
			if err := os.Remove(filling); err != nil {
				t.Fatal(err)
			}
			stands(t, open(t, s.path), 2)
			if err == nil {
				break
			}
			fails(t, err, s, store.Full)
			if tables, err := s.Tables(t.Context()); err != nil || len(tables) > 0 {
				t.Fatalf("with room for %d bytes: %d tables, %v", room, len(tables), err)
			}
		}
	})
	t.Run("read-only", func(t *testing.T) {
		remount := func(flags uintptr) {
			t.Helper()
			if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
				t.Fatal(err)
			}
		}
		remount(syscall.MS_RDONLY)
		fails(t, s.Save(t.Context(), edits(2, 3), edits(3, 3)), s, store.ReadOnly, "writable")
		stands(t, s, 2)
		stands(t, open(t, s.path), 2)
		other := &database{file: &file{path: filepath.Join(dir, "other", "roost.db")}}
		_, err := Open(t.Context(), other.path)
		fails(t, err, other, store.ReadOnly)
		remount(0)
		save(t, s, 3)
	})
}
