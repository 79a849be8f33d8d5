package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"roost"
	"roost/internal/control"
	"roost/internal/explain"
)

func explainCommand() *cobra.Command {
	var s source
	var q explain.Request
	var client, output string
	cmd := &cobra.Command{
		Use:   "explain [flags] URL",
		Short: "Say where a request would go, and why",
		Long: "Explain prints route, key, homes and choice for one request, by the configuration given. When a balancer with the same\n" +
			"admin address runs, its loads and verdicts are used.",
		Example: "  roost explain -H 'X-Org: acme' http://localhost/rooms/7 -c roost.yaml\n" +
			"  roost explain --nodes a:9001,b:9002,c:9003 /r/app/hello",
		Args: cobra.ExactArgs(1),
	}
	s.register(cmd.Flags())
	cmd.Flags().StringArrayVarP(&q.Fields, "header", "H", nil, "a field of the request, 'Name: value'; repeatable")
	cmd.Flags().StringVarP(&q.Method, "method", "X", "GET", "the request's method")
	cmd.Flags().StringVar(&q.Listener, "on", "", "name of the listener that takes the request (default the first)")
	cmd.Flags().StringVar(&client, "client", "192.0.2.1", "address of the client")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if output != "text" && output != "json" {
			return usage("-o: %q is not known; write text or json", output)
		}
		var err error
		if q.Client, err = netip.ParseAddr(client); err != nil {
			return usage("--client: %q is not an address", client)
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
		a, err := explain.Explain(snap, running(cmd.Context(), cfg.Admin.Address), q)
		if err != nil {
			return usage("%w", err)
		}
		if output == "text" {
			a.Text(cmd.OutOrStdout())
			return nil
		}
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(a)
	}
	return cmd
}

// askTimeout bounds the question to a running balancer; it is on this host.
const askTimeout = time.Second

// running asks the balancer behind the admin address for its status. Nil: none runs there, which is no error.
func running(ctx context.Context, address string) *roost.Status {
	if address == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/status", nil)
	if err != nil {
		return nil
	}
	tr := &http.Transport{DisableKeepAlives: true} // no proxy from the environment: the address is loopback
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var s roost.Status
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&s) != nil {
		return nil
	}
	return &s
}
