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
	// maxQueue bounds the calls of one side that are due and wait for a client, because the machine or a side is too slow;
	// those beyond it fail. At the default rate it is five seconds' worth.
	maxQueue = 2048
	// lateAfter is when a call that was due and did not go out says that the machine is too busy: a scheduler's slices.
	lateAfter = 50 * time.Millisecond
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
	tr := keepAlive(s.clients())
	defer tr.CloseIdleConnections()
	// The last calls end by themselves: a call cut by the end of the demo would count as failed.
	calls := context.WithoutCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	var queues [2]chan call
	for i := range s.sides {
		c := &caller{side: &s.sides[i], tr: tr, start: s.start}
		queues[i] = make(chan call, maxQueue)
		defer close(queues[i])
		for range s.clients() {
			wg.Go(func() { c.work(calls, queues[i]) })
		}
	}
	wait := time.NewTimer(0)
	defer wait.Stop()
	for due := time.Duration(0); ; {
		due += time.Duration(rnd.ExpFloat64() / s.o.Rate * float64(time.Second))
		next := call{choose(shares, rnd), due}
		wait.Reset(due - time.Since(s.start))
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		for i := range queues {
			select {
			case queues[i] <- next:
			default:
				s.sides[i].ledger.answered(due, 0, false)
			}
		}
	}
}

// clients is how many calls can be under way on one side: if all of them wait for a cold start, as many again.
func (s *show) clients() int {
	return 32 + int(2*s.o.Rate*s.o.Cold.Seconds())
}

// call is a call of a function that is due at a time from the start.
type call struct {
	fn  int
	due time.Duration
}

// caller is the clients of one side.
type caller struct {
	side  *side
	tr    *http.Transport
	start time.Time
}

// work is one client: it makes calls, one after the other.
func (c *caller) work(ctx context.Context, queue <-chan call) {
	for next := range queue {
		if time.Since(c.start)-next.due > lateAfter {
			c.side.ledger.late()
		}
		err := c.get(ctx, next.fn)
		now := time.Since(c.start)
		c.side.ledger.answered(now, now-next.due, err == nil)
	}
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
