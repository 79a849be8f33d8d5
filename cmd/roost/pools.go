package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"roost"
	"roost/internal/client"
)

func poolsCommand() *cobra.Command {
	var o online
	cmd := &cobra.Command{
		Use:     "pools",
		Short:   "Show pools; set how many homes a key has",
		Long:    "Pools shows all pools. A pool is a set of nodes that share one table and one policy.",
		Example: "  roost pools\n  roost pools show fn\n  roost pools homes 2 --pool fn",
		Args:    verbs,
	}
	o.register(cmd.PersistentFlags())
	cmd.RunE = o.run(o.listPools)
	ls := &cobra.Command{Use: "ls", Short: "Show pools", Args: arguments(0, 0), RunE: o.run(o.listPools)}
	show := &cobra.Command{
		Use:               "show [POOL]",
		Short:             "Show one pool and its nodes",
		Long:              "Show shows one pool with its table, its nodes, and what of the changes made to it could not be used. Its name is needed\nonly when there are several.",
		Args:              arguments(0, 1),
		ValidArgsFunction: o.completePool,
		RunE:              o.run(o.showPool),
	}
	cmd.AddCommand(ls, show, homes(&o))
	return cmd
}

func (o *online) listPools(cmd *cobra.Command, c *client.Client, _ []string) error {
	ps, err := c.Pools(cmd.Context())
	if err != nil {
		return err
	}
	if o.output == "json" {
		return asJSON(cmd.OutOrStdout(), ps)
	}
	return showPools(cmd.OutOrStdout(), ps)
}

func showPools(w io.Writer, ps []roost.PoolStatus) error {
	var rows [][]string
	for i := range ps {
		p := &ps[i]
		takers := 0
		for j := range p.Nodes {
			if p.Nodes[j].Effective > 0 {
				takers++
			}
		}
		rows = append(rows, []string{string(p.ID), fmt.Sprintf("%s of %s", thousands(takers), thousands(len(p.Nodes))), strconv.Itoa(p.Homes),
			thousands(p.Pins), thousands(p.InFlight), thousands(p.Waiting), thousands(p.Spills), thousands(p.Retries)})
	}
	return table(w, []string{"POOL", "NODES OPEN", "HOMES", "PINS", "IN FLIGHT", "WAITING", "SPILLS", "RETRIES"}, rows)
}

func (o *online) showPool(cmd *cobra.Command, c *client.Client, args []string) error {
	pool, err := o.one(cmd.Context(), c, first(args))
	if err != nil {
		return err
	}
	p, err := c.Pool(cmd.Context(), pool)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if o.output == "json" {
		return asJSON(w, p)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "pool\t%s\n", p.ID)
	fmt.Fprintf(tw, "table\t%s (epoch %s, %s)\n", p.Digest, p.Epoch, count(p.Slots, "slot"))
	fmt.Fprintf(tw, "homes\t%d\n", p.Homes)
	fmt.Fprintf(tw, "pins\t%s\n", thousands(p.Pins))
	fmt.Fprintf(tw, "requests\t%s in flight, %s waiting for room\n", thousands(p.InFlight), thousands(p.Waiting))
	fmt.Fprintf(tw, "so far\t%s spilled, %s made again, %s in panic\n", thousands(p.Spills), thousands(p.Retries), thousands(p.Panics))
	for _, n := range p.Notes {
		fmt.Fprintf(tw, "note\t%s\n", clean(n))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if len(p.Nodes) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return showNodes(w, poolNodes([]roost.PoolStatus{*p}))
}

// first is the first of the arguments, or "".
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func homes(o *online) *cobra.Command {
	var set *uint8
	cmd := &cobra.Command{
		Use:   "homes HOMES|default",
		Short: "Set how many homes a key of a pool has",
		Long: fmt.Sprintf("Homes sets how many ordered homes a key has, from 1 to %d, in place of what the configuration says. They are used first\n"+
			"to last as the key's load grows. default takes it back.", roost.MaxHomes),
		Example:           "  roost pools homes 2\n  roost pools homes default",
		Args:              arguments(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o.registerPool(cmd, cmd.Flags())
	cmd.PreRunE = func(_ *cobra.Command, args []string) (err error) {
		if args[0] != "default" {
			set, err = readHomes(args[0], roost.MaxHomes)
		}
		return err
	}
	cmd.RunE = o.inPool(func(cmd *cobra.Command, c *client.Client, pool roost.PoolID, _ []string) error {
		done, err := c.SetHomes(cmd.Context(), pool, set)
		if err != nil {
			return err
		}
		if set == nil {
			return o.changed(cmd, done, err, "a key of %s has as many homes as the configuration says", pool)
		}
		return o.changed(cmd, done, err, "a key of %s has %s", pool, count(int(*set), "home"))
	})
	return cmd
}

// readHomes reads a number of homes.
func readHomes(text string, most int) (*uint8, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n < 1 || n > uint64(most) {
		return nil, usage("%q is not a number of homes, which is 1 to %d", text, most)
	}
	set := uint8(n)
	return &set, nil
}
