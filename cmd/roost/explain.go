package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"roost"
	"roost/internal/api"
	"roost/internal/client"
	"roost/internal/control"
	"roost/internal/explain"
)

func explainCommand() *cobra.Command {
	var o online
	var s source
	var q api.Request
	cmd := &cobra.Command{
		Use:   "explain [flags] URL",
		Short: "Say where a request would go, and why",
		Long: "Explain prints route, key, homes with their loads, choice and why for one request, as the running balancer would treat\n" +
			"it now. With a configuration, by -c or --nodes, it asks none: it says what a balancer would do that starts with that.",
		Example: "  roost explain -H 'X-Org: acme' http://localhost/rooms/7\n" +
			"  roost explain -c roost.yaml http://localhost/rooms/7\n" +
			"  roost explain --nodes a:9001,b:9002,c:9003 /r/app/hello",
		Args:              arguments(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o.register(cmd.Flags())
	s.register(cmd.Flags())
	for _, name := range []string{"state", "store", "engine", "loops", "admin", "admin-socket", "access-log", "log-level", "log-format", "tls-cert", "tls-key"} {
		cmd.Flags().MarkHidden(name) // they are taken, as part of a command line of serve, and explain nothing
	}
	cmd.Flags().StringArrayVarP(&q.Fields, "header", "H", nil, "a field of the request, 'Name: value'; repeatable")
	cmd.Flags().StringVarP(&q.Method, "method", "X", "GET", "the request's method")
	cmd.Flags().StringVar(&q.Listener, "on", "", "name of the listener that takes the request (default the first)")
	cmd.Flags().StringVar(&q.Client, "client", explain.DefaultClient, "address of the client")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q.URL = args[0]
		c, err := o.client()
		if err != nil {
			return err
		}
		if _, err := netip.ParseAddr(q.Client); err != nil {
			return usage("--client: %q is not an address", q.Client)
		}
		var a *api.Explanation
		switch offline := configured(cmd.Flags()); {
		case offline && o.named():
			return usage("give a configuration or a balancer: with a configuration none is asked")
		case offline:
			a, err = explainFile(cmd, &s, q)
		default:
			a, err = explainLive(cmd.Context(), c, q)
		}
		if err != nil {
			return err
		}
		if o.output == "json" {
			return asJSON(cmd.OutOrStdout(), a)
		}
		explain.Text(cmd.OutOrStdout(), a)
		return nil
	}
	return cmd
}

// configured tells whether flags were given that make a configuration.
func configured(fs *pflag.FlagSet) (given bool) {
	mine := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(source).register(mine)
	mine.VisitAll(func(f *pflag.Flag) { given = given || fs.Changed(f.Name) })
	return given
}

// explainFile explains by the snapshot with which a balancer would start.
func explainFile(cmd *cobra.Command, s *source, q api.Request) (*api.Explanation, error) {
	cfg, err := s.load(cmd.Flags(), cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	snap, err := control.Assemble(cfg)
	if err != nil {
		return nil, &failure{exitFail, fmt.Errorf("build the tables: %w", err)}
	}
	a, err := explain.Explain(snap, q, false)
	if err != nil {
		return nil, usage("%w", err)
	}
	return a, nil
}

// explainLive lets the running balancer explain.
func explainLive(ctx context.Context, c *client.Client, q api.Request) (*api.Explanation, error) {
	a, err := c.Explain(ctx, q)
	var p *client.Problem
	if errors.As(err, &p) && p.Problem.Code == roost.CodeBadChange {
		return nil, usage("%w", err) // as it would be by a file
	}
	return a, failed(err)
}
