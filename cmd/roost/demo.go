package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"roost"
	"roost/internal/config"
	"roost/internal/demo"
	"roost/internal/serve"
)

func demoCommand() *cobra.Command {
	o := demo.Options{Balance: balance}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch functions come home: Roost beside round robin, one node killed midway",
		Long: "Demo runs a balancer and five function nodes in this process, sends real HTTP to them, and the same load by round robin\n" +
			"to five more. The first call of a function on a node is slow: a cold start. It ends with --for or Ctrl-C.",
		Args: cobra.NoArgs,
	}
	cmd.Flags().DurationVar(&o.For, "for", 0, "how long; without it until Ctrl-C")
	cmd.Flags().Float64Var(&o.Rate, "rate", 400, fmt.Sprintf("calls per second on each side, at most %d", demo.MaxRate))
	cmd.Flags().Uint64Var(&o.Seed, "seed", 1, "of the load; the same seed gives the same calls")
	cmd.Flags().BoolVar(&o.Plain, "plain", false, "a line each second, also on a terminal")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.For < 0 {
			return usage("--for: %v is not a time; write for example 20s", o.For)
		}
		if !(o.Rate > 0 && o.Rate <= demo.MaxRate) { // so that NaN is none either
			return usage("--rate: %v is not above 0 and at most %d calls per second", o.Rate, demo.MaxRate)
		}
		o.Out = cmd.OutOrStdout()
		if _, err := demo.Run(cmd.Context(), o); err != nil {
			return &failure{code: exitFail, err: fmt.Errorf("demo: %w", err)}
		}
		return nil
	}
	return cmd
}

// balance is the balancer that the demo shows: the real one, as flags alone would start it.
func balance(ctx context.Context, nodes []demo.Node, listening func(addr string)) error {
	f := config.Flags{Listen: []string{"127.0.0.1:0"}, State: "off", Admin: "off"}
	for _, n := range nodes {
		f.Nodes = append(f.Nodes, n.Name+"="+n.Addr)
	}
	cfg, diags := config.FromFlags(f)
	if diags.Failed() {
		var text bytes.Buffer
		diags.Text(&text)
		return errors.New(text.String())
	}
	return serve.Run(ctx, cfg, serve.Options{Version: version(), Listening: func(ls []roost.ListenerStatus) { listening(ls[0].Address) }})
}
