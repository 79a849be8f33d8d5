package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"roost"
	"roost/internal/client"
)

// completeTimeout bounds what a key press may cost.
const completeTimeout = 500 * time.Millisecond

// complete asks the balancer for words. When none answers in time there are none, and nothing is said: a shell is waiting.
func (o *online) complete(cmd *cobra.Command, words func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	o.output = "json" // whatever is half typed there
	c, err := o.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completeTimeout)
	defer cancel()
	found, err := words(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func (o *online) completePools(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return o.complete(cmd, pools)
}

// completePool completes the only argument of a command.
func (o *online) completePool(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.completePools(cmd, args, typed)
}

// completeNodes completes arguments from the given place on with nodes of the pool, or of all pools.
func (o *online) completeNodes(from, to int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) < from || len(args) >= to {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return o.complete(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
			ps, err := c.Pools(ctx)
			var words []string
			for i := range ps {
				if o.pool != "" && ps[i].ID != roost.PoolID(o.pool) {
					continue
				}
				for j := range ps[i].Nodes {
					n := &ps[i].Nodes[j]
					words = append(words, cobra.CompletionWithDesc(string(n.ID), state(n)))
				}
			}
			return words, err
		})
	}
}

// completePins completes the only argument of a command with keys that were placed by hand.
func (o *online) completePins(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.complete(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		pool, err := o.one(ctx, c, o.pool)
		if err != nil {
			return nil, err
		}
		pins, err := c.Pins(ctx, pool)
		var words []string
		for i := range pins {
			if pins[i].Key == clean(pins[i].Key) { // else it would be several words, or none that can be typed
				words = append(words, pins[i].Key)
			}
		}
		return words, err
	})
}
