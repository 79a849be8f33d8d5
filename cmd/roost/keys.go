package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"roost"
	"roost/internal/api"
	"roost/internal/client"
)

func keysCommand() *cobra.Command {
	var o online
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Say where a key lives; pin it elsewhere",
		Long: "Keys shows the keys that were placed by hand. All others follow the table: where says where.\n" +
			"A pin beats the table, and lasts over restarts.",
		Example: "  roost keys where billing/report\n" +
			"  roost keys pin billing/report b c\n" +
			"  roost keys pin billing/report --homes 10\n" +
			"  roost keys unpin billing/report",
		Args: verbs,
	}
	o.register(cmd.PersistentFlags())
	o.registerPool(cmd, cmd.PersistentFlags())
	cmd.RunE = o.inPool(o.listPins)
	ls := &cobra.Command{Use: "ls", Short: "Show the keys that were placed by hand", Args: arguments(0, 0), RunE: o.inPool(o.listPins)}
	cmd.AddCommand(ls, where(&o), pin(&o), unpin(&o))
	return cmd
}

func (o *online) listPins(cmd *cobra.Command, c *client.Client, pool roost.PoolID, _ []string) error {
	pins, err := c.Pins(cmd.Context(), pool)
	if err != nil {
		return err
	}
	if o.output == "json" {
		return asJSON(cmd.OutOrStdout(), pins)
	}
	if len(pins) == 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "no key of %s was placed by hand\n", pool)
		return nil
	}
	var rows [][]string
	for i := range pins {
		rows = append(rows, []string{pins[i].Key, pins[i].By, placed(&pins[i])})
	}
	return table(cmd.OutOrStdout(), []string{"KEY", "FROM", "HOMES"}, rows)
}

// placed says where a pin places its key.
func placed(p *api.Pin) string {
	if len(p.Nodes) == 0 {
		return count(int(p.Homes), "home") + " along its own order"
	}
	return join(p.Nodes)
}

func join(ids []roost.NodeID) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(id))
	}
	return b.String()
}

func where(o *online) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "where KEY",
		Short: "Say where a key lives",
		Long: "Where prints a key's homes, best first, and who follows when they are full or dead. The key is what a route finds in a\n" +
			"request, such as /r/app/hello: 'roost explain URL' prints it.",
		Args:              keyAnd(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = o.inPool(func(cmd *cobra.Command, c *client.Client, pool roost.PoolID, args []string) error {
		k, err := c.Where(cmd.Context(), pool, args[0])
		if err != nil {
			return err
		}
		if o.output == "json" {
			return asJSON(cmd.OutOrStdout(), k)
		}
		tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintf(tw, "key\t%q of pool %s\n", k.Key, k.Pool)
		fmt.Fprintf(tw, "slot\t%d", k.Slot)
		if k.Exception != "" {
			fmt.Fprintf(tw, ", but the key has an exception: %s", k.Exception)
		}
		homes := join(k.Homes)
		if homes == "" {
			homes = "none: no node is open"
		}
		fmt.Fprintf(tw, "\nhomes\t%s\n", clean(homes))
		if len(k.Next) > 0 {
			fmt.Fprintf(tw, "then\t%s\n", clean(join(k.Next)))
		}
		fmt.Fprintf(tw, "epoch\t%s\n", k.Epoch)
		if err := tw.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	})
	return cmd
}

// keyAnd demands a key, and as many arguments behind it.
func keyAnd(least, most int) cobra.PositionalArgs {
	if most >= 0 {
		most++
	}
	count := arguments(least+1, most)
	return func(cmd *cobra.Command, args []string) error {
		if err := count(cmd, args); err != nil {
			return err
		}
		if args[0] == "" {
			return usage("a key has at least one byte; 'roost explain URL' prints a request's")
		}
		return nil
	}
}

// maxPinHomes is what an api.Pin can ask for.
const maxPinHomes = 255

func pin(o *online) *cobra.Command {
	var p api.Pin
	var homes string
	cmd := &cobra.Command{
		Use:   "pin KEY NODE... | KEY --homes N",
		Short: "Place a key by hand",
		Long: "Pin gives a key the homes that are named, best first, or with --homes that many along its own order. Pinning it again\n" +
			"replaces the pin.",
		Example:               "  roost keys pin billing/report b c\n  roost keys pin billing/report --homes 10",
		Args:                  keyAnd(0, -1),
		ValidArgsFunction:     o.completeNodes(1, maxPinHomes),
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVar(&homes, "homes", "", "in place of nodes: how many homes along the key's own order")
	cmd.PreRunE = func(_ *cobra.Command, args []string) error {
		p.Key = args[0]
		for _, a := range args[1:] {
			if id := roost.NodeID(a); slices.Contains(p.Nodes, id) {
				return usage("%s is named twice; a key has each home once", a)
			}
			p.Nodes = append(p.Nodes, roost.NodeID(a))
		}
		if (len(p.Nodes) > 0) == (homes != "") {
			return usage("name the key's homes, or give --homes and their number: roost keys pin %s NODE", args[0])
		}
		if homes != "" {
			n, err := readHomes(homes, maxPinHomes)
			if err != nil {
				return err
			}
			p.Homes = *n
		}
		return nil
	}
	cmd.RunE = o.inPool(func(cmd *cobra.Command, c *client.Client, pool roost.PoolID, _ []string) error {
		done, err := c.SetPin(cmd.Context(), pool, p)
		return o.changed(cmd, done, err, "%q of %s has its homes by hand: %s", p.Key, pool, placed(&p))
	})
	return cmd
}

func unpin(o *online) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "unpin KEY",
		Short:             "Let a key follow the table again",
		Args:              keyAnd(0, 0),
		ValidArgsFunction: o.completePins,
	}
	cmd.RunE = o.inPool(func(cmd *cobra.Command, c *client.Client, pool roost.PoolID, args []string) error {
		done, err := c.RemovePin(cmd.Context(), pool, args[0])
		return o.changed(cmd, done, err, "%q of %s follows the table again", args[0], pool)
	})
	return cmd
}
