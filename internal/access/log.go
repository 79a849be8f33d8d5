// Package access writes the access log: one line of JSON for each finished exchange, to a file or to standard output.
//
// Writing a line never waits, never allocates and never touches the disk. Lines that the disk cannot take in time are
// dropped, counted, and stand in the log as {"dropped":N}; a disk that is full loses lines, not requests.
//
// Trap: lines of the same moment may stand in another order than they were written in; each has its time, which is when
// its request began.
package access

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"roost"
)

const (
	// bufferBytes is what waits in memory for the disk, in all: some 20,000 lines, so at 50,000 requests/s the disk may
	// stall for 0.4 s before lines are dropped. Memory that no stall ever filled is never touched.
	bufferBytes = 8 << 20
	// maxBuffers bounds how many buffers share them; each holds at least 25 of the longest lines.
	maxBuffers = 64
	// flushEvery is how long a line waits for company. A buffer that is half full ends the wait.
	flushEvery = 100 * time.Millisecond
	// endWithin is how long Run takes for the rest: a slow disk writes all that may wait within it, and a pipe that nobody
	// reads must not keep a balancer from ending.
	endWithin = 2 * time.Second
	// fileMode keeps the log, which holds clients' addresses and keys, from other users.
	fileMode = 0o640
)

// Log is an access log. One that is off, or the zero Log, discards all lines.
//
// There are at least two buffers for each processor. A line goes into any buffer that nobody uses at this moment: a
// writer takes a buffer by one compare-and-swap, formats the line into it, and gives it back. Nobody ever waits for a
// buffer: a writer that finds one taken, or full, goes to the next, and drops its line when there is none. So a thread
// that is descheduled within a line costs the others one buffer, where a mutex would stop them.
type Log struct {
	buffers []buffer // a power of two
	dropped atomic.Uint64
	dirty   atomic.Bool   // something was written since the last flush began
	wake    chan struct{} // once when dirty rises, and when a buffer is half full
	reopen  chan struct{}
	log     *slog.Logger

	// work's own.
	path    string // "": standard output
	out     io.Writer
	spare   []byte
	told    uint64 // of dropped, in the log
	failing bool   // the last write failed
	torn    bool   // the last write ended within a line
}

type buffer struct {
	taken atomic.Bool // guards data
	data  []byte
	_     [128 - 32]byte // two buffers never share a cache line
}

// Open opens the log: "off" (or ""), "stdout", or a file's path, which is appended to. Lines appear while Run runs.
// Trouble with the file is told to log.
func Open(where string, log *slog.Logger) (*Log, error) {
	l := &Log{reopen: make(chan struct{}, 1), log: log}
	switch where {
	case "", "off":
		return l, nil
	case "stdout":
		l.out = os.Stdout
	default:
		f, err := openFile(where)
		if err != nil {
			return nil, err
		}
		l.path, l.out = where, f
	}
	n := min(1<<bits.Len(uint(2*runtime.GOMAXPROCS(0)-1)), maxBuffers)
	l.wake = make(chan struct{}, 1)
	l.buffers = make([]buffer, n)
	for i := range l.buffers {
		l.buffers[i].data = make([]byte, 0, bufferBytes/n)
	}
	l.spare = make([]byte, 0, bufferBytes/n)
	return l, nil
}

func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("open the access log: %w", err)
	}
	return f, nil
}

// Write adds the line of r, which came in by the listener of that name, or drops and counts it.
func (l *Log) Write(r *roost.Record, listener string) {
	if l.buffers == nil {
		return
	}
	at := rand.Uint32()
	for i := range l.buffers {
		b := &l.buffers[(int(at)+i)&(len(l.buffers)-1)]
		if b.taken.Load() || !b.taken.CompareAndSwap(false, true) {
			continue
		}
		before := len(b.data)
		if cap(b.data)-before < maxLine {
			b.taken.Store(false)
			continue
		}
		b.data = appendLine(b.data, r, listener)
		hurry := before <= cap(b.data)/2 && len(b.data) > cap(b.data)/2
		b.taken.Store(false)
		if hurry || !l.dirty.Load() && l.dirty.CompareAndSwap(false, true) {
			select {
			case l.wake <- struct{}{}:
			default: // Run is called already
			}
		}
		return
	}
	l.dropped.Add(1)
}

// Dropped is how many lines were lost since the start, because the log could not be written, or not fast enough.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Reopen makes Run open the file by its name again, after logrotate gave the old one another. It does not wait.
func (l *Log) Reopen() {
	select {
	case l.reopen <- struct{}{}:
	default: // it is asked already
	}
}

// Run writes lines until ctx ends, then those that are left, and closes the file. What is written later is dropped and
// counted. Two Logs may run at a time, as when a reload goes over to another file.
//
// A system's write cannot be called off. When nobody takes what is written (standard output is a pipe that nobody reads),
// Run returns an error soon after ctx ended, and leaves the goroutine that writes to the end of the process.
func (l *Log) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- l.work(ctx) }()
	<-ctx.Done()
	late := time.NewTimer(endWithin)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return fmt.Errorf("end the access log: its last lines were not taken within %v and are lost", endWithin)
	}
}

func (l *Log) work(ctx context.Context) error {
	for {
		select {
		case <-l.wake:
			select {
			case <-time.After(flushEvery):
			case <-l.wake:
			case <-ctx.Done():
			}
			l.flush()
		case <-l.reopen:
			l.flush() // what came before the call stands in the old file
			l.rotate()
		case <-ctx.Done():
			l.end()
			if f, ok := l.out.(*os.File); ok && l.path != "" {
				if err := f.Close(); err != nil {
					return fmt.Errorf("close the access log: %w", err)
				}
			}
			return nil
		}
	}
}

// flush writes what the buffers hold.
//
// No line is forgotten: (1) a writer gives its buffer back; (2) it finds dirty set and calls nobody. Dirty was set at (2),
// so it is cleared after it, and the look into the buffer comes later still. A buffer that is taken at that moment is left
// to the flush which its taker calls for: it finds dirty cleared.
func (l *Log) flush() {
	l.dirty.Store(false)
	for i := range l.buffers {
		b := &l.buffers[i]
		if !b.taken.CompareAndSwap(false, true) {
			continue
		}
		full := b.data
		b.data = l.spare
		b.taken.Store(false)
		l.dropped.Add(l.write(full))
		l.spare = full[:0]
	}
	l.tell()
}

// end is the last flush. It gives no buffer back: who comes later with a line finds none, and drops it.
func (l *Log) end() {
	for i := range l.buffers {
		b := &l.buffers[i]
		for !b.taken.CompareAndSwap(false, true) {
			runtime.Gosched() // a line is being put into it
		}
		l.dropped.Add(l.write(b.data))
	}
	l.tell()
}

// tell writes how many lines are missing.
func (l *Log) tell() {
	if n := l.dropped.Load(); n > l.told {
		if l.write(appendDropped(nil, time.Now(), n-l.told)) == 0 {
			l.told = n
		}
	}
}

// write writes whole lines and returns how many it could not.
func (l *Log) write(lines []byte) (lost uint64) {
	if len(lines) == 0 {
		return 0
	}
	var n int
	var err error
	if l.torn {
		_, err = l.out.Write([]byte{'\n'}) // so that the torn line does not spoil the next one
		l.torn = err != nil
	}
	if err == nil {
		n, err = l.out.Write(lines)
		l.torn = n > 0 && lines[n-1] != '\n'
	}
	if l.failing != (err != nil) {
		l.failing = err != nil
		if l.failing {
			l.log.Error("access log cannot be written; its lines are lost", "err", err)
		} else {
			l.log.Info("access log is written again", "lost", l.dropped.Load())
		}
	}
	return uint64(bytes.Count(lines[n:], []byte{'\n'}))
}

// rotate takes the file that now stands under the name, or keeps the old one.
func (l *Log) rotate() {
	if l.path == "" {
		return
	}
	f, err := openFile(l.path)
	if err != nil {
		l.log.Error("access log stays in the old file", "err", err)
		return
	}
	if err := l.out.(*os.File).Close(); err != nil {
		l.log.Error("close the old access log", "err", err)
	}
	l.out, l.torn = f, false
	l.log.Info("access log reopened", "file", l.path)
}
