package main

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"roost/internal/api"
	"roost/internal/control"
	"roost/internal/explain"
)

func explainCommand() *cobra.Command {
	var s source
	var q api.Request
	var output string
	cmd := &cobra.Command{
		Use:   "explain [flags] URL",
		Short: "Say where a request would go, and why",
		Long:  "Explain prints route, key, homes and choice for one request, by the configuration given.",
		Example: "  roost explain -H 'X-Org: acme' http://localhost/rooms/7 -c roost.yaml\n" +
			"  roost explain --nodes a:9001,b:9002,c:9003 /r/app/hello",
		Args: cobra.ExactArgs(1),
	}
	s.register(cmd.Flags())
	cmd.Flags().StringArrayVarP(&q.Fields, "header", "H", nil, "a field of the request, 'Name: value'; repeatable")
	cmd.Flags().StringVarP(&q.Method, "method", "X", "GET", "the request's method")
	cmd.Flags().StringVar(&q.Listener, "on", "", "name of the listener that takes the request (default the first)")
	cmd.Flags().StringVar(&q.Client, "client", explain.DefaultClient, "address of the client")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if output != "text" && output != "json" {
			return usage("-o: %q is not known; write text or json", output)
		}
		if _, err := netip.ParseAddr(q.Client); err != nil {
			return usage("--client: %q is not an address", q.Client)
		}
		q.URL = args[0]
		cfg, err := s.load(cmd.Flags(), cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		snap, err := control.Assemble(cfg)
		if err != nil {
			return &failure{code: exitFail, err: fmt.Errorf("build the tables: %w", err)}
		}
		a, err := explain.Explain(snap, q, false)
		if err != nil {
			return usage("%w", err)
		}
		if output == "text" {
			explain.Text(cmd.OutOrStdout(), a)
			return nil
		}
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(a)
	}
	return cmd
}
