package listen

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long the directories must be quiet before files are read: a certificate and its key are written one
	// after the other, and half of a change is no news.
	settle = 100 * time.Millisecond
	// settleMax bounds that wait, for a directory that is never quiet.
	settleMax = time.Second
	// pollEvery is how often the files are read without any notice. Notices do not come from network file systems, from
	// some overlays, when a directory above a watched one is renamed, or when the system has no watch left (inotify's
	// max_user_watches). Certificates are renewed days before they expire: a minute is soon, and costs two small reads.
	pollEvery = time.Minute
)

// Run follows changes of the files until ctx ends. It watches directories, not files, because files are replaced: by
// rename, or by turning a symbolic link as Kubernetes does.
func (c *Certs) Run(ctx context.Context) error {
	tick := time.NewTicker(c.poll)
	defer tick.Stop()
	w, err := c.watcher()
	if err != nil {
		c.log.Warn("changed certificates are noticed late: cannot watch directories", "err", err, "poll", c.poll)
		w = &fsnotify.Watcher{} // its channels are nil: nothing ever comes
	} else {
		defer w.Close() // waits for the watcher's goroutine
	}
	var watched []string
	for {
		// Watch first, then read: what changes after the read is noticed.
		if err == nil {
			watched = c.watch(w, watched)
		}
		c.reload()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-c.replaced:
		case <-w.Events:
			quiet(ctx, w)
		case <-w.Errors: // events were lost
			quiet(ctx, w)
		}
	}
}

// quiet waits until the directories are quiet.
func quiet(ctx context.Context, w *fsnotify.Watcher) {
	limit, cancel := context.WithTimeout(ctx, settleMax)
	defer cancel()
	timer := time.NewTimer(settle)
	defer timer.Stop()
	for {
		select {
		case <-limit.Done():
			return
		case <-timer.C:
			return
		case <-w.Events:
			timer.Reset(settle)
		case <-w.Errors:
		}
	}
}

// watch watches the directories that matter now and forgets those that no longer do. One that cannot be watched is left
// to the poll, which tries again.
func (c *Certs) watch(w *fsnotify.Watcher, before []string) []string {
	var dirs []string
	c.mu.Lock()
	for _, p := range c.pairs {
		dirs = append(dirs, directories(p.file.Cert)...)
		dirs = append(dirs, directories(p.file.Key)...)
	}
	c.mu.Unlock()
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	for _, d := range before {
		if !slices.Contains(dirs, d) {
			w.Remove(d) // fails when the directory is gone, and its watch with it
		}
	}
	for _, d := range dirs {
		// Again each time: a directory made anew under its old name has no watch yet.
		if err := w.Add(d); err != nil && !slices.Contains(before, d) {
			c.log.Warn("changed certificates are noticed late: cannot watch directory", "dir", d, "err", err, "poll", c.poll)
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
