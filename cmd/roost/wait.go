package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"roost"
	"roost/internal/client"
)

// waiting is how long a command waits for what it asked to come true.
type waiting struct {
	on      bool
	timeout time.Duration
}

const (
	defaultWait = 5 * time.Minute        // longer than ordinary requests take, shorter than a deploy's patience
	waitStep    = 100 * time.Millisecond // between two looks
)

func (w *waiting) register(fs *pflag.FlagSet, until string) {
	fs.BoolVar(&w.on, "wait", false, "wait until "+until)
	fs.DurationVar(&w.timeout, "timeout", defaultWait, "how long --wait waits; then the exit code is 3")
}

func (w *waiting) check(cmd *cobra.Command) error {
	switch {
	case w.timeout <= 0:
		return usage("--timeout: %v is not a time to wait; write for example 5m", w.timeout)
	case cmd.Flags().Changed("timeout") && !w.on:
		return usage("--timeout is how long --wait waits; give that too")
	}
	return nil
}

// wish is what is waited for. It says what is still missing, or "" when it came true; an error when it no longer can. The
// node is nil when it is not listed any more.
type wish interface {
	missing(n *roost.NodeStatus) (string, error)
	done(node roost.NodeID) string  // that it came true
	stays(node roost.NodeID) string // what goes on when nobody waits any more
}

// wait looks at the node until the wish comes true. What it waits for goes to standard error when that changes.
func (w *waiting) wait(cmd *cobra.Command, c *client.Client, pool roost.PoolID, node roost.NodeID, want wish) error {
	if !w.on {
		return nil
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(cmd.Context(), w.timeout)
	defer cancel()
	tick := time.NewTicker(waitStep)
	defer tick.Stop()
	said, answered := "", began
	for limited.Err() == nil {
		missing, err := look(limited, c, pool, node, want)
		switch {
		case limited.Err() != nil:
			continue
		case errors.Is(err, client.ErrNobody) && time.Since(answered) < client.Patience:
			missing = "the balancer, which does not answer now"
		case err != nil:
			return err
		case missing == "":
			fmt.Fprintf(cmd.ErrOrStderr(), "%s, after %s\n", want.done(node), time.Since(began).Round(waitStep))
			return nil
		default:
			answered = time.Now()
		}
		if missing != said {
			said = missing
			fmt.Fprintf(cmd.ErrOrStderr(), "waiting for %s\n", clean(said))
		}
		select {
		case <-tick.C:
		case <-limited.Done():
		}
	}
	why := fmt.Sprintf("not done after %v", w.timeout)
	if cmd.Context().Err() != nil {
		why = "interrupted"
	}
	if said != "" {
		why += "; still waiting for " + clean(said)
	}
	return &failure{exitWait, fmt.Errorf("%s; %s", why, want.stays(node))}
}

func look(ctx context.Context, c *client.Client, pool roost.PoolID, node roost.NodeID, want wish) (string, error) {
	n, err := c.Node(ctx, pool, node)
	var p *client.Problem
	if errors.As(err, &p) && p.Problem.Code == roost.CodeNoNode {
		n, err = nil, nil
	}
	if err != nil {
		return "", err
	}
	return want.missing(n)
}

// untilIdle waits until nothing is open at a node that is held.
type untilIdle struct{ duty string }

func (u untilIdle) missing(n *roost.NodeStatus) (string, error) {
	switch {
	case n == nil:
		return "", nil
	case n.Duty == roost.Up.String():
		return "", fmt.Errorf("%s takes requests again: somebody took the hold back", n.ID)
	case n.InFlight == 0 && n.Connections == 0:
		return "", nil
	case n.Connections == 0:
		return count(n.InFlight, "request"), nil
	case n.InFlight == 0:
		return count(n.Connections, "connection"), nil
	}
	return count(n.InFlight, "request") + " and " + count(n.Connections, "connection"), nil
}

func (u untilIdle) done(node roost.NodeID) string {
	return fmt.Sprintf("nothing is open at %s any more", node)
}

func (u untilIdle) stays(node roost.NodeID) string {
	return fmt.Sprintf("%s stays %s: 'roost nodes undrain %s' takes that back", node, u.duty, node)
}

// untilWell waits until health has found a node well.
type untilWell struct{}

func (untilWell) missing(n *roost.NodeStatus) (string, error) {
	switch {
	case n == nil:
		return "", errors.New("it is not listed any more: somebody removed it")
	case n.Verdict == roost.Well.String():
		return "", nil
	case n.Reason == "":
		return fmt.Sprintf("%s to be well; it is %s", n.ID, n.Verdict), nil
	}
	return fmt.Sprintf("%s to be well; it is %s: %s", n.ID, n.Verdict, n.Reason), nil
}

func (untilWell) done(node roost.NodeID) string { return fmt.Sprintf("%s is well", node) }

func (untilWell) stays(node roost.NodeID) string {
	return fmt.Sprintf("%s stays listed: 'roost nodes rm %s' takes that back", node, node)
}
