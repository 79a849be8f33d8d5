package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// versionTimeout bounds the question to a balancer: most who ask for the version do not mean that one.
const versionTimeout = time.Second

func versionCommand() *cobra.Command {
	var o online
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, and that of the balancer that runs",
		Args:  arguments(0, 0),
	}
	o.register(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := o.client()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), versionTimeout)
		defer cancel()
		v := struct {
			Client   string `json:"client"`
			Balancer string `json:"balancer,omitempty"`
		}{Client: version()}
		s, err := c.Status(ctx)
		if err == nil {
			v.Balancer = s.Version
		} else if o.named() {
			return failed(err)
		}
		if o.output == "json" {
			return asJSON(cmd.OutOrStdout(), v)
		}
		fmt.Fprintln(cmd.OutOrStdout(), "roost "+v.Client)
		if v.Balancer != "" {
			fmt.Fprintln(cmd.OutOrStdout(), "balancer "+clean(v.Balancer))
		}
		return nil
	}
	return cmd
}
