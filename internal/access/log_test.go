package access

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// journal is the operators' log, whose lines a test waits for.
type journal chan string

func (j journal) Write(p []byte) (int, error) {
	j <- string(p)
	return len(p), nil
}

func (j journal) log() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func (j journal) wait(t *testing.T, text string) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case line := <-j:
			if strings.Contains(line, text) {
				return
			}
		case <-limit:
			t.Fatalf("no log line with %q", text)
		}
	}
}

func openLog(t testing.TB, where string, j journal) *Log {
	t.Helper()
	l, err := Open(where, j.log())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run runs l; stop ends it and waits.
func run(t testing.TB, l *Log) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// tally is what a log says: how many lines it holds, and how many it says are missing.
type tally struct{ lines, dropped int }

func (s *tally) add(t *testing.T, line []byte) {
	t.Helper()
	var x struct {
		Status  *int
		Dropped int
	}
	if err := json.Unmarshal(line, &x); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	s.dropped += x.Dropped
	if x.Status != nil {
		s.lines++
	}
}

func read(t *testing.T, path string) (s tally) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		s.add(t, line)
	}
	return s
}

// pipe makes a named pipe, and its reading end, which the caller closes.
func pipe(t *testing.T) (path string, reader *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0) // both ends, so that opening waits for nobody
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return path, reader
}

func TestALineAppearsWithoutAnother(t *testing.T) {
	path, reader := pipe(t)
	defer reader.Close() // so that Run can end if the test fails
	l := openLog(t, path, make(journal, 1000))
	run(t, l)
	lines := bufio.NewReader(reader)
	for range 3 {
		l.Write(full(), "web")
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		if want := appendLine(nil, full(), "web"); !bytes.Equal(line, want) {
			t.Fatalf("line %s, want %s", line, want)
		}
	}
}

func TestEveryLineOfManyWritersIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := openLog(t, path, make(journal, 1000))
	stop := run(t, l)
	const writers, each = 8, 2000
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				l.Write(full(), "web")
			}
		})
	}
	for range 10 {
		l.Reopen() // the file stays the same: nothing may be lost or torn
	}
	all.Wait()
	stop()
	got := read(t, path)
	if got.lines+got.dropped != writers*each || got.dropped != int(l.Dropped()) {
		t.Errorf("%d lines, %d reported as dropped, %d dropped; %d were written", got.lines, got.dropped, l.Dropped(), writers*each)
	}
	if got.lines == 0 {
		t.Error("nothing was written")
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		t.Errorf("others have access: %v", mode)
	}
}

func TestLinesThatNobodyTakesAreDroppedAndCounted(t *testing.T) {
	path, reader := pipe(t)
	defer reader.Close() // so that Run can end if the test fails
	l := openLog(t, path, make(journal, 1000))
	stop := run(t, l)
	written := 0
	for ; l.Dropped() < 1000; written++ { // nobody reads: the pipe fills, then the buffers
		if written > 2*bufferBytes/200 {
			t.Fatal("the buffers have no limit")
		}
		l.Write(full(), "web")
	}
	// Every buffer was filled before a line was dropped, the one in Run's hands excepted.
	if least := bufferBytes / 2 / 420; written-1000 < least {
		t.Errorf("dropped after %d lines, want %d", written-1000, least)
	}
	var got tally
	lines := bufio.NewReader(reader)
	for got.lines+got.dropped < written {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		got.add(t, line)
	}
	stop()
	if got.dropped != int(l.Dropped()) {
		t.Errorf("the log tells of %d dropped lines, there were %d", got.dropped, l.Dropped())
	}
}

// stuck is a pipe that nobody reads.
type stuck chan bool

func (s stuck) Write(p []byte) (int, error) {
	<-s
	return 0, io.ErrClosedPipe
}

func TestALogThatNobodyReadsDoesNotKeepABalancerFromEnding(t *testing.T) {
	for _, busy := range []bool{false, true} { // whether it hangs already when it is told to end
		synctest.Test(t, func(t *testing.T) {
			l := openLog(t, "stdout", make(journal, 1000))
			out := make(stuck)
			l.out = out
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- l.Run(ctx) }()
			l.Write(full(), "web")
			if busy {
				<-time.After(time.Minute) // of the bubble's clock
			}
			since := time.Now()
			cancel()
			if err := <-done; err == nil || !strings.Contains(err.Error(), "lost") || time.Since(since) != endWithin {
				t.Errorf("ended after %v with %v", time.Since(since), err)
			}
			close(out)
		})
	}
}

// A reload goes over to another file: (1) a request has the old log in hand; (2) the new one takes its place; (3) the old one
// is told to end; (4) the request writes its line.
func TestALogGivesWayToAnotherWithoutLosingCount(t *testing.T) {
	dir := t.TempDir()
	j := make(journal, 1000)
	var current atomic.Pointer[Log]
	const writers, each, reloads = 4, 2000, 20
	path := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
	logs := []*Log{openLog(t, path(0), j)}
	current.Store(logs[0])
	stop := run(t, logs[0])
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				current.Load().Write(full(), "web")
			}
		})
	}
	for i := 1; i <= reloads; i++ {
		next := openLog(t, path(i), j)
		logs = append(logs, next)
		end := run(t, next)
		current.Store(next)
		stop()
		stop = end
	}
	all.Wait()
	stop()
	sum := 0
	for i, l := range logs {
		sum += read(t, path(i)).lines + int(l.Dropped())
	}
	if sum != writers*each {
		t.Errorf("%d lines written or counted as dropped, want %d", sum, writers*each)
	}
	before := logs[0].Dropped()
	logs[0].Write(full(), "web")
	if logs[0].Dropped() != before+1 {
		t.Error("a line that came too late was not counted")
	}
}

func TestAReopenedLogGoesOnInANewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	j := make(journal, 1000)
	l := openLog(t, path, j)
	stop := run(t, l)
	const rotations = 10
	old := func(i int) string { return fmt.Sprint(path, ".", i) }
	for i := range rotations {
		for range i + 1 {
			l.Write(full(), "web")
		}
		if err := os.Rename(path, old(i)); err != nil {
			t.Fatal(err)
		}
		l.Reopen()
		j.wait(t, "access log reopened")
	}
	l.Write(full(), "web")
	stop()
	for i := range rotations {
		if got := read(t, old(i)); got.lines != i+1 {
			t.Errorf("%d lines before rotation %d, want %d", got.lines, i, i+1)
		}
	}
	if got := read(t, path); got.lines != 1 {
		t.Errorf("%d lines after the last rotation, want 1", got.lines)
	}
}

func TestALogThatCannotBeReopenedStaysInTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "logs", "access.log")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	j := make(journal, 1000)
	l := openLog(t, path, j)
	stop := run(t, l)
	if err := os.Rename(filepath.Dir(path), filepath.Join(dir, "old")); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	j.wait(t, "no such file")
	l.Write(full(), "web")
	stop()
	if got := read(t, filepath.Join(dir, "old", "access.log")); got.lines != 1 {
		t.Errorf("%d lines, want 1", got.lines)
	}
}

func TestAFullDiskLosesLinesAndIsSurvived(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	dir := t.TempDir()
	path, roomy := filepath.Join(dir, "access.log"), filepath.Join(dir, "roomy")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	j := make(journal, 1000)
	l := openLog(t, path, j)
	stop := run(t, l)
	for range 3 {
		l.Write(full(), "web")
	}
	j.wait(t, "no space left on device")
	if err := errors.Join(os.Remove(path), os.Symlink(roomy, path)); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	j.wait(t, "access log reopened")
	l.Write(full(), "web")
	j.wait(t, "access log is written again")
	stop()
	if got := read(t, roomy); got.lines+got.dropped != 4 || got.dropped != int(l.Dropped()) || got.lines == 0 {
		t.Errorf("%+v and %d dropped, want 4 in all", got, l.Dropped())
	}
}

// narrow takes no more than room bytes.
type narrow struct {
	bytes.Buffer
	room int
}

func (w *narrow) Write(p []byte) (int, error) {
	if len(p) <= w.room {
		w.room -= len(p)
		return w.Buffer.Write(p)
	}
	n, _ := w.Buffer.Write(p[:w.room])
	w.room = 0
	return n, io.ErrShortWrite
}

func TestATornLineDoesNotSpoilTheNext(t *testing.T) {
	l := openLog(t, os.DevNull, make(journal, 1000))
	line := appendLine(nil, full(), "web")
	out := &narrow{room: len(line) + 10}
	l.out = out
	for range 3 {
		l.Write(full(), "web")
	}
	l.flush()
	out.room = 1 << 20
	l.Write(full(), "web")
	l.flush()
	var whole, torn int
	for got := range bytes.Lines(out.Bytes()) {
		switch {
		case bytes.Equal(got, line):
			whole++
		case bytes.HasPrefix(line, bytes.TrimSuffix(got, []byte("\n"))):
			torn++
		case !bytes.Contains(got, []byte(`"dropped":2}`)):
			t.Errorf("unexpected line %s", got)
		}
	}
	if whole != 2 || torn != 1 || l.Dropped() != 2 {
		t.Errorf("%d whole, %d torn, %d dropped lines; want 2, 1, 2:\n%s", whole, torn, l.Dropped(), &out.Buffer)
	}
}

func TestALogThatIsOffCostsNothing(t *testing.T) {
	for _, l := range []*Log{{}, openLog(t, "off", make(journal)), openLog(t, "", make(journal))} {
		stop := run(t, l)
		l.Write(full(), "web")
		stop()
		if l.Dropped() != 0 {
			t.Error("a line that nobody wants was counted")
		}
	}
}

func TestALogThatCannotBeOpenedSaysWhy(t *testing.T) {
	dir := t.TempDir()
	for where, want := range map[string]string{dir: "is a directory", dir + "/none/x": "no such file"} {
		if _, err := Open(where, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not say %q", where, err, want)
		}
	}
}

func TestWritingALineAllocatesNothing(t *testing.T) {
	l := openLog(t, os.DevNull, make(journal, 1000))
	for i, r := range records() {
		if n := testing.AllocsPerRun(100, func() { l.Write(r, "web") }); n != 0 {
			t.Errorf("record %d: %v allocations", i, n)
		}
	}
	if l.Dropped() != 0 {
		t.Fatal("lines were dropped instead of written")
	}
}

// The benchmarks empty the buffers themselves, so that no line is dropped: a dropped one costs less.
func BenchmarkWrite(b *testing.B) {
	for name, r := range map[string]int{"ordinary": 0, "hostile": 5} {
		b.Run(name, func(b *testing.B) {
			l := openLog(b, os.DevNull, make(journal, 1000))
			r := records()[r]
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if l.Write(r, "web"); i%1000 == 0 {
					l.flush()
				}
			}
			if l.Dropped() > 0 {
				b.Fatal("lines were dropped")
			}
		})
	}
}

func BenchmarkWriteParallel(b *testing.B) {
	l := openLog(b, os.DevNull, make(journal, 1000))
	var flushing sync.Mutex
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := full()
		for i := 0; pb.Next(); i++ {
			if l.Write(r, "web"); i%1000 == 0 && flushing.TryLock() {
				l.flush()
				flushing.Unlock()
			}
		}
	})
	b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
}
