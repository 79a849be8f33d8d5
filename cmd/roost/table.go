package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"roost"
	"roost/internal/client"
)

func tableCommand() *cobra.Command {
	var o online
	var rows bool
	cmd := &cobra.Command{
		Use:     "table",
		Short:   "Show how a pool's table shares its keys out",
		Long:    "Table shows what share of a pool's keys each node is the first home of. With --rows it prints the homes of every slot, a\nline each: the slot's number, then its homes, best first.",
		Example: "  roost table\n  roost table --rows --pool fn | awk '$2 == \"b\"'",
		Args:    arguments(0, 0),
	}
	o.register(cmd.Flags())
	o.registerPool(cmd, cmd.Flags())
	cmd.Flags().BoolVar(&rows, "rows", false, "the homes of every slot")
	cmd.RunE = o.inPool(func(cmd *cobra.Command, c *client.Client, pool roost.PoolID, _ []string) error {
		t, err := c.Table(cmd.Context(), pool, rows)
		if err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		if o.output == "json" {
			return asJSON(w, t)
		}
		if rows {
			b := bufio.NewWriter(w)
			for slot, homes := range t.Rows {
				fmt.Fprintf(b, "%d", slot)
				for _, id := range homes {
					fmt.Fprintf(b, " %s", clean(string(id)))
				}
				b.WriteByte('\n')
			}
			if err := b.Flush(); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			return nil
		}
		fmt.Fprintf(w, "table %s of %s: %s, %s each, %s; epoch %s\n\n", t.Digest, t.Pool, count(t.Slots, "slot"), count(t.Homes, "home"),
			count(len(t.Pins), "pin"), t.Epoch)
		var lines [][]string
		for _, s := range t.Shares {
			state := "open"
			if s.Closed {
				state = "closed: gets nothing new"
			}
			lines = append(lines, []string{string(s.Node), weight(s.Weight), thousands(s.Slots), fmt.Sprintf("%.1f %%", 100*float64(s.Slots)/float64(t.Slots)), state})
		}
		return table(w, []string{"NODE", "WEIGHT", "SLOTS", "SHARE", "STATE"}, lines)
	})
	return cmd
}
