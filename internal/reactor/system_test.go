//go:build linux

package reactor

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A loop that waits holds its place in the scheduler, and a system call is no safepoint: without the one behind an
// interrupted wait the first collection would last as long as the wait.
func TestACollectionDoesNotWaitForALoopThatWaits(t *testing.T) {
	const long, patience = 30 * time.Second, 10 * time.Second
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for _, hold := range []bool{true, false} {
		var stop atomic.Bool
		var waits sync.WaitGroup
		var loops []*system
		var entered atomic.Int64
		for range 2 {
			s, err := openSystem()
			if err != nil {
				t.Fatal(err)
			}
			loops = append(loops, s)
			waits.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				evs := make([]event, 8)
				for !stop.Load() {
					entered.Add(1)
					s.wait(evs, long, hold)
				}
			})
		}
		for entered.Load() < 2 {
			runtime.Gosched()
		}
		collected := make(chan struct{})
		go func() {
			for range 20 {
				runtime.GC()
			}
			close(collected)
		}()
		late := time.NewTimer(patience)
		select {
		case <-collected:
		case <-late.C:
			t.Errorf("hold %v: twenty collections are not done in %v", hold, patience)
		}
		late.Stop()
		stop.Store(true)
		for _, s := range loops {
			s.wake()
		}
		<-collected
		waits.Wait()
		for _, s := range loops {
			s.closed()
		}
	}
}

// A wake-up is never lost, whenever it comes.
func TestAWakeUpEndsTheNextWait(t *testing.T) {
	s, err := openSystem()
	if err != nil {
		t.Fatal(err)
	}
	defer s.closed()
	evs := make([]event, 8)
	for range 3 {
		s.wake()
		s.wake()
		for {
			n, e := s.wait(evs, time.Minute, true)
			if e != 0 && e != syscall.EINTR {
				t.Fatal(e)
			}
			if n > 0 {
				break
			}
		}
		if evs[0].Fd != tokenWake {
			t.Fatalf("woken by %d", evs[0].Fd)
		}
		s.heard()
		if n, _ := s.wait(evs, 0, true); n != 0 {
			t.Errorf("%d events after the wake-up was heard", n)
		}
	}
}
