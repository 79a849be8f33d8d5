package serve

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// group owns goroutines by name, ends them, and awaits their end. Make it with newGroup.
type group struct {
	ctx    context.Context // of all of them, until end
	cancel context.CancelFunc
	failed chan<- error // is told the first failure; it has room for one
	wg     sync.WaitGroup
	mu     sync.Mutex // guards errs
	errs   []error
}

func newGroup(failed chan<- error) *group {
	ctx, cancel := context.WithCancel(context.Background())
	return &group{ctx: ctx, cancel: cancel, failed: failed}
}

// start runs f until it returns; its error is kept for end. stop ends it, and does not wait.
func (g *group) start(name string, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(g.ctx)
	g.wg.Go(func() {
		defer cancel()
		err := f(ctx)
		if err == nil {
			return
		}
		err = fmt.Errorf("%s: %w", name, err)
		g.mu.Lock()
		g.errs = append(g.errs, err)
		g.mu.Unlock()
		select {
		case g.failed <- err:
		default: // the first failure is enough to end the balancer
		}
	})
	return cancel
}

// end ends all, waits for them and returns what went wrong. Nothing is started afterwards.
func (g *group) end() error {
	g.cancel()
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}
