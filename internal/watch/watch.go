// Package watch tells when files change: certificates, and the configuration.
//
// Contents decide, not notices: a file that was touched, or written again as it was, has not changed. What changed
// while nobody looked is noticed at the next look, and one comes at least every minute.
//
// Trap: a look and the caller's own reading are two readings. A call of changed says that something may be new; whoever
// is called reads and compares for itself. Nothing new is ever left without a call.
package watch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"os"
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
	// max_user_watches). Certificates are renewed days before they expire: a minute is soon, and costs a few small reads.
	pollEvery = time.Minute
	// maxRead bounds what is read of one file. A longer one is known by its size and time alone; none that we use is.
	maxRead = 16 << 20
)

// Watcher watches one set of files. Make it with New.
type Watcher struct {
	log     *slog.Logger
	again   chan struct{} // tells Run to look now
	watcher func() (*fsnotify.Watcher, error)
	poll    time.Duration
}

// New returns a watcher that does nothing until Run. Directories that cannot be watched are told to log, and polled.
func New(log *slog.Logger) *Watcher {
	return &Watcher{log: log, again: make(chan struct{}, 1), watcher: fsnotify.NewWatcher, poll: pollEvery}
}

// Look makes Run ask for the files and read them now, as after files named others.
func (w *Watcher) Look() {
	select {
	case w.again <- struct{}{}:
	default: // Run has not seen the last wish yet, and will see this one with it
	}
}

// Run calls changed after the files' contents, or the files themselves, changed, until ctx ends. It also calls it once
// at its start: what changed between the caller's reading and now is not known. files is asked before each look. Both
// are called by Run's goroutine only.
//
// Run watches directories, not files, because files are replaced: by rename, or by turning a symbolic link as
// Kubernetes does.
func (w *Watcher) Run(ctx context.Context, files func() []string, changed func()) error {
	tick := time.NewTicker(w.poll)
	defer tick.Stop()
	notices, err := w.watcher()
	if err != nil {
		w.log.Warn("changed files are noticed late: cannot watch directories", "err", err, "poll", w.poll)
		notices = &fsnotify.Watcher{} // its channels are nil: nothing ever comes
	} else {
		defer notices.Close() // waits for the watcher's goroutine
	}
	var seen state
	var watched []string
	for {
		names := files()
		// Watch first, then read: what changes after the read is noticed.
		if err == nil {
			watched = w.watch(notices, names, watched)
		}
		if now := look(names); !slices.Equal(now, seen) {
			seen = now
			changed()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-w.again:
		case <-notices.Events:
			quiet(ctx, notices)
		case <-notices.Errors: // events were lost
			quiet(ctx, notices)
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

// state is what files held at one look, in their order.
type state []content

type content struct {
	name string
	sum  [sha256.Size]byte // of the bytes, or of why they cannot be read
}

func look(files []string) state {
	s := state{}
	for _, name := range files {
		s = append(s, content{name, sum(name)})
	}
	return s
}

func sum(name string) [sha256.Size]byte {
	h := sha256.New()
	info, err := os.Stat(name)
	switch {
	case err != nil:
		fmt.Fprintf(h, "error %v", err)
	case !info.Mode().IsRegular() || info.Size() > maxRead: // a pipe would block
		fmt.Fprintf(h, "%v %d %v", info.Mode(), info.Size(), info.ModTime())
	default:
		if err := read(h, name); err != nil {
			fmt.Fprintf(h, "error %v", err)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func read(to io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, io.LimitReader(f, maxRead))
	return err
}
