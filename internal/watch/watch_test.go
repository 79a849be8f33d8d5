package watch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// never keeps the poll out of a test of notices.
const never = 24 * time.Hour

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// replace makes file hold text without a moment at which it holds half of it.
func replace(t *testing.T, file, text string) {
	t.Helper()
	write(t, file+".new", text)
	rename(t, file+".new", file)
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

// turn makes a symbolic link lead elsewhere, in one step.
func turn(t *testing.T, to, name string) {
	t.Helper()
	link(t, to, name+".new")
	rename(t, name+".new", name)
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// news is what a watcher told: what the file held at each call.
type news struct {
	t    *testing.T
	file string
	told chan string
}

// follow runs w on file until the test ends and waits for its first call.
func follow(t *testing.T, w *Watcher, file string) *news {
	t.Helper()
	n := &news{t: t, file: file, told: make(chan string, 1000)}
	run(t, w, func() []string { return []string{file} }, func() {
		text, _ := os.ReadFile(file)
		n.told <- string(text)
	})
	n.wait("")
	return n
}

func run(t *testing.T, w *Watcher, files func() []string, changed func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx, files, changed) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// wait waits for a call at which the file held text, or anything for "".
func (n *news) wait(text string) {
	n.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case got := <-n.told:
			if text == "" || got == text {
				return
			}
		case <-limit:
			n.t.Fatalf("nobody told of %q", text)
		}
	}
}

// Each way is given a directory and makes the file there hold text: the first time as an installation would, then as a
// change would.
var ways = []struct {
	name string
	file string
	put  func(t *testing.T, dir, text string)
}{
	{"written in place", "f", func(t *testing.T, dir, text string) { write(t, filepath.Join(dir, "f"), text) }},
	{"renamed over", "f", func(t *testing.T, dir, text string) {
		replace(t, filepath.Join(dir, "f"), text)
	}},
	{"removed and written", "f", func(t *testing.T, dir, text string) {
		os.Remove(filepath.Join(dir, "f"))
		write(t, filepath.Join(dir, "f"), text)
	}},
	{"a link beside the file turned, as in a mounted ConfigMap", "f", func(t *testing.T, dir, text string) {
		write(t, filepath.Join(dir, ".."+text, "f"), text)
		turn(t, ".."+text, filepath.Join(dir, "..data"))
		if text == "1" {
			link(t, "..data/f", filepath.Join(dir, "f"))
		}
	}},
	{"a link above the file turned", "now/deep/f", func(t *testing.T, dir, text string) {
		write(t, filepath.Join(dir, text, "deep", "f"), text)
		turn(t, text, filepath.Join(dir, "now"))
	}},
	{"written where a link leads to", "live/f", func(t *testing.T, dir, text string) {
		write(t, filepath.Join(dir, "archive", "f"), text)
		if text == "1" {
			link(t, filepath.Join(dir, "archive", "f"), filepath.Join(dir, "live", "f"))
		}
	}},
}

func TestAChangeIsToldHoweverItIsMade(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel() // each waits until its directory is quiet
			dir := t.TempDir()
			way.put(t, dir, "1")
			w := New(quietLog())
			w.poll = never
			n := follow(t, w, filepath.Join(dir, way.file))
			for _, text := range []string{"2", "3", "4"} {
				way.put(t, dir, text)
				n.wait(text)
			}
		})
	}
}

func TestAFileThatGoesAndComesIsToldBothTimes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "1")
	w := New(quietLog())
	w.poll = never
	n := follow(t, w, file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	n.wait("")
	write(t, file, "2")
	n.wait("2")
}

func TestWhatHoldsTheSameIsNoNews(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	write(t, file, "1")
	w := New(quietLog())
	w.poll = never
	var looks atomic.Int64
	var told []string
	done := make(chan struct{})
	run(t, w, func() []string { looks.Add(1); return []string{file} }, func() {
		text, _ := os.ReadFile(file)
		if told = append(told, string(text)); string(text) == "2" {
			close(done)
		}
	})
	for _, same := range []func(){
		func() { replace(t, file, "1") },
		func() { os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour)) },
		func() { write(t, filepath.Join(dir, "other"), "x") },
	} {
		same()
		for range 2 { // one look may have begun before
			before := looks.Load()
			w.Look() // not every system gives notice of a touch
			for looks.Load() == before {
				runtime.Gosched()
			}
		}
	}
	replace(t, file, "2")
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the change was never told")
	}
	if want := []string{"1", "2"}; !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
}

func TestADirectoryThatIsMadeAnewIsWatchedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	file := filepath.Join(dir, "f")
	write(t, file, "1")
	w := New(quietLog())
	w.poll = 10 * time.Millisecond // the directory above is not watched; the poll finds the new one
	n := follow(t, w, file)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	write(t, file, "2")
	n.wait("2")
}

func TestThePollSeesWhatCannotBeWatched(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "1")
	var log bytes.Buffer
	w := New(slog.New(slog.NewTextHandler(&log, nil)))
	w.poll = 10 * time.Millisecond
	w.watcher = func() (*fsnotify.Watcher, error) { return nil, errors.New("no watch is left") }
	n := follow(t, w, file)
	if !strings.Contains(log.String(), "no watch is left") {
		t.Errorf("the log does not say why: %s", log.String())
	}
	write(t, file, "2")
	n.wait("2")
}

func TestADirectoryThatIsNeverQuietDoesNotHideAChange(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	write(t, file, "1")
	w := New(quietLog())
	w.poll = never
	n := follow(t, w, file)
	write(t, file, "2")
	noise := time.NewTicker(settle / 10)
	defer noise.Stop()
	for limit := time.Now().Add(20 * settleMax); len(n.told) == 0; <-noise.C {
		if time.Now().After(limit) {
			t.Fatal("the change was never told")
		}
		write(t, filepath.Join(dir, "noise"), "x")
	}
	n.wait("2")
}

func TestOtherFilesAreWatchedOnceTheyAreNamed(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "1", "f"), filepath.Join(dir, "2", "f")
	write(t, one, "one")
	write(t, two, "two")
	w := New(quietLog())
	w.poll = never
	var now atomic.Pointer[string]
	now.Store(&one)
	n := &news{t: t, told: make(chan string, 1000)}
	run(t, w, func() []string { return []string{*now.Load()} }, func() {
		text, _ := os.ReadFile(*now.Load())
		n.told <- string(text)
	})
	n.wait("one")
	now.Store(&two)
	w.Look()
	n.wait("two")
	write(t, two, "three")
	n.wait("three")
}

func TestALookNeverBlocksOnWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	write(t, big, "")
	if err := os.Truncate(big, maxRead+1); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, big, "/dev/zero", filepath.Join(dir, "none")} {
		if first, second := sum(name), sum(name); first != second {
			t.Errorf("%s changes by being looked at", name)
		}
	}
}

func TestAReadIsBounded(t *testing.T) {
	var n counter
	if err := read(&n, "/dev/zero"); err != nil {
		t.Fatal(err)
	}
	if n != maxRead {
		t.Errorf("read %d bytes, want %d", n, maxRead)
	}
}

// counter counts what is written to it.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

var _ io.Writer = (*counter)(nil)
