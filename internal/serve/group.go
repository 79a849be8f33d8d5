package serve

import (
	"errors"
	"fmt"
	"sync"
)

// group owns goroutines by name and awaits their end. The zero group is ready.
type group struct {
	wg     sync.WaitGroup
	mu     sync.Mutex // guards errs and failed
	errs   []error
	failed chan<- error
}

// start runs f until it returns; its error is kept for wait.
func (g *group) start(name string, f func() error) {
	g.wg.Go(func() {
		err := f()
		if err == nil {
			return
		}
		err = fmt.Errorf("%s: %w", name, err)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.errs = append(g.errs, err)
		if g.failed != nil {
			select {
			case g.failed <- err:
			default: // the first failure of each group is enough to end the balancer
			}
		}
	})
}

// onFail asks for the first failure, one that has happened already included. failed needs room for one.
func (g *group) onFail(failed chan<- error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = failed
	if len(g.errs) > 0 {
		failed <- g.errs[0]
	}
}

// wait waits for all and returns what went wrong.
func (g *group) wait() error {
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}
