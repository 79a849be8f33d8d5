package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"roost/internal/client"
)

func upgradeCommand() *cobra.Command {
	var o online
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Give all listeners to the new binary, without dropping a connection",
		Long: "Upgrade makes the balancer start its own program anew from disk, as it was replaced there, and give it every listener.\n" +
			"The new process takes all new connections; the old one serves what it has until that ends. When the new one does not get\n" +
			"ready, the old one goes on as if nothing was. It is asked for over the unix socket only.",
		Example: "  install -m 755 roost-v2 /usr/bin/roost && roost upgrade",
		Args:    arguments(0, 0),
	}
	o.register(cmd.Flags())
	cmd.RunE = o.run(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		u, err := c.Upgrade(cmd.Context())
		if err != nil {
			return err
		}
		if o.output == "json" {
			return asJSON(cmd.OutOrStdout(), u)
		}
		left := "the one before it has no connections left"
		if u.Left > 0 {
			left = fmt.Sprintf("the one before it serves %s until they end", count(u.Left, "connection"))
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "version %s serves now, as process %d; %s\n", clean(u.Version), u.PID, left)
		return err
	})
	return cmd
}
