package watch

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// watch watches the directories that matter now and forgets those that no longer do. One that cannot be watched is left
// to the poll, which tries again.
func (w *Watcher) watch(notices *fsnotify.Watcher, files, before []string) []string {
	var dirs []string
	for _, f := range files {
		dirs = append(dirs, directories(f)...)
	}
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	for _, d := range before {
		if !slices.Contains(dirs, d) {
			notices.Remove(d) // fails when the directory is gone, and its watch with it
		}
	}
	for _, d := range dirs {
		// Again each time: a directory made anew under its old name has no watch yet.
		if err := notices.Add(d); err != nil && !slices.Contains(before, d) {
			w.log.Warn("changed files are noticed late: cannot watch directory", "dir", d, "err", err, "poll", w.poll)
		}
	}
	return dirs
}

// directories are the real ones in which a change of file shows: where it is named, where any symbolic link on its path
// stands, and where it is in the end.
func directories(file string) []string {
	var dirs []string
	add := func(path string) {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			dirs = append(dirs, dir)
		}
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil // without a working directory the file cannot be read either
	}
	add(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		add(real)
	}
	for ; path != filepath.Dir(path); path = filepath.Dir(path) {
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSymlink {
			add(path)
		}
	}
	return dirs
}
