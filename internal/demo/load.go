package demo

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// maxInFlight bounds the calls under way on one side; those beyond it fail at once. At the default rate it is more
	// than comes in while a node hangs for two seconds.
	maxInFlight = 1024
	// callTimeout bounds one call: many times a cold start.
	callTimeout = 10 * time.Second
	// skew is the Zipf exponent of the functions' popularity: the first of 200 gets 13 % of the calls, the last 0.1 %.
	skew = 0.9
)

// popularity is the cumulated share of calls of each function, the most popular first.
func popularity(functions int) []float64 {
	shares := make([]float64, functions)
	sum := 0.0
	for i := range shares {
		sum += math.Pow(float64(i+1), -skew)
		shares[i] = sum
	}
	for i := range shares {
		shares[i] /= sum
	}
	return shares
}

// choose draws a function by its popularity.
func choose(shares []float64, rnd *rand.Rand) int {
	i, _ := slices.BinarySearch(shares, rnd.Float64())
	return min(i, len(shares)-1)
}

// load calls functions on both sides, the same at the same time, until ctx ends; then it waits for the last answers.
// Calls come at random and independently (a Poisson process), as those of many clients do.
func (s *show) load(ctx context.Context) {
	rnd, shares := s.rand(), popularity(s.o.Functions)
	tr := keepAlive()
	defer tr.CloseIdleConnections()
	var callers [2]caller
	for i := range s.sides {
		callers[i] = caller{side: &s.sides[i], tr: tr, start: s.start, room: make(chan struct{}, maxInFlight)}
	}
	// The last calls end by themselves: a call cut by the end of the demo would count as failed.
	calls := context.WithoutCancel(ctx)
	wait := time.NewTimer(0)
	defer wait.Stop()
	for due := time.Duration(0); ; {
		due += time.Duration(rnd.ExpFloat64() / s.o.Rate * float64(time.Second))
		fn := choose(shares, rnd)
		wait.Reset(due - time.Since(s.start))
		select {
		case <-ctx.Done():
			callers[sideRoost].wg.Wait()
			callers[sideRobin].wg.Wait()
			return
		case <-wait.C:
		}
		for i := range callers {
			callers[i].call(calls, fn, due)
		}
	}
}

// caller is the clients of one side.
type caller struct {
	side  *side
	tr    *http.Transport
	start time.Time
	room  chan struct{}
	wg    sync.WaitGroup
}

// call calls a function that was due at a time from the start, and returns without waiting for it.
func (c *caller) call(ctx context.Context, fn int, due time.Duration) {
	select {
	case c.room <- struct{}{}:
	default:
		c.side.ledger.answered(due, 0, false)
		return
	}
	c.wg.Go(func() {
		err := c.get(ctx, fn)
		<-c.room
		now := time.Since(c.start)
		c.side.ledger.answered(now, now-due, err == nil)
	})
}

func (c *caller) get(ctx context.Context, fn int) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.side.addr+path(fn), nil)
	if err != nil {
		return err
	}
	resp, err := c.tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || string(body) != strconv.Itoa(fn) {
		return fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return nil
}
