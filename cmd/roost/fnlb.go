package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"roost"
	"roost/internal/config"
	"roost/internal/fnlb"
	"roost/internal/listen"
	"roost/internal/serve"
	"roost/internal/store/sqlstore"
)

// calledAs is the command that the program's own name stands for: called as fnlb it is fnlb.
func calledAs(name string, args []string) []string {
	if strings.TrimSuffix(filepath.Base(name), ".exe") == "fnlb" {
		return append([]string{"fnlb"}, args...)
	}
	return args
}

func fnlbCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "fnlb [flags]",
		Short: "Balance fn servers, with fnlb's flags and API",
		Long: "Fnlb takes the place of fnproject's load balancer: the same flags, /1/lb/nodes, /1/lb/stats and /1/lb/dash, the same\n" +
			"table of nodes. A program of the name fnlb that is this one does the same.",
		DisableFlagParsing: true, // they are Go's, with one dash
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := fnlb.Parse(args, cmd.OutOrStdout())
			if errors.Is(err, flag.ErrHelp) {
				return nil
			}
			if err != nil {
				return usage("fnlb: %w; 'fnlb -h' lists the flags", err)
			}
			if err := runFnlb(cmd.Context(), f, fnlb.Ignored(args), cmd.ErrOrStderr()); err != nil {
				return &failure{code: exitFail, err: fmt.Errorf("fnlb: %w", err)}
			}
			return nil
		},
	}
}

func runFnlb(ctx context.Context, f fnlb.Flags, ignored []string, stderr io.Writer) (err error) {
	level := logrusLevel(os.Getenv("LOG_LEVEL"))
	signals := listenToSignals() // SIGHUP must not end it; there is no file to read again, and the log says so
	defer signal.Stop(signals)
	defer outliveReaders()()
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("LOG_LEVEL: %w", err)
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: threshold}))
	for _, name := range ignored {
		log.Warn("this flag has no effect", "flag", name)
	}
	dir, err := os.MkdirTemp("", "fnlb-") // readable by us alone
	if err != nil {
		return fmt.Errorf("make a directory for sockets: %w", err)
	}
	defer os.RemoveAll(dir)
	text, err := f.Config(dir, level)
	if err != nil {
		return err
	}
	cfg, diags := config.Parse("flags", text)
	if diags.Failed() {
		diags.Text(stderr)
		return errors.New("the flags cannot be used together")
	}
	table, err := sqlstore.OpenLbNodes(ctx, f.DB)
	if err != nil {
		return fmt.Errorf("-db: %w", err)
	}
	defer func() { err = errors.Join(err, table.Close()) }()

	var b *serve.Balancer
	lb := fnlb.New(fnlb.Options{Table: table, Every: f.HC.Interval, Node: plainNode, Log: log,
		Listed: func(ctx context.Context, l roost.Listing) error { return b.List(ctx, l) },
		Status: func() roost.Status { return b.Status() }})
	listing, err := lb.Begin(ctx, f.Nodes)
	if err != nil {
		return err
	}
	var own, mgmt net.Listener
	if own, err = fnlb.Own(dir); err != nil {
		return err
	}
	defer own.Close()
	if !f.Shared() {
		if mgmt, err = listen.Open(f.MgmtListen); err != nil {
			return fmt.Errorf("-mgmt-listen: %w", err)
		}
		defer mgmt.Close()
	}
	b, err = serve.Open(cfg, serve.Options{Version: version(), LogTo: stderr, Listed: []roost.Listing{listing}, Record: lb.Observe, Drain: f.Shutdown})
	if err != nil {
		return err
	}

	// What answers beside traffic outlives ctx: requests that drain may need it.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	parts := []func() error{
		func() error { return lb.Run(inner) },
		func() error { return fnlb.Serve(inner, own, lb.OwnHandler(dir), log) },
	}
	if mgmt != nil {
		log.Info("management listening", "address", mgmt.Addr().String())
		parts = append(parts, func() error { return fnlb.Serve(inner, mgmt, lb.Handler(), log) })
	}
	outer, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() {
			err := part()
			stop() // one that breaks ends all
			ended <- err
		}()
	}
	err = steer(outer, b, signals)
	cancel()
	for range parts {
		err = errors.Join(err, <-ended)
	}
	return err
}

// plainNode reads an address of fnlb's table: no name and no weight of ours stand in it.
func plainNode(address string) (roost.Node, error) {
	n, err := config.Node(address)
	if err == nil && (strings.ContainsAny(address, "=*") || strings.HasPrefix(address, "unix:")) {
		err = fmt.Errorf("read node %q: write host:port", address)
	}
	return n, err
}

// logrusLevel turns a level as fnlb's LOG_LEVEL has it into one of ours.
func logrusLevel(text string) string {
	switch strings.ToLower(text) {
	case "trace", "debug":
		return "debug"
	case "warn", "warning":
		return "warn"
	case "error", "fatal", "panic":
		return "error"
	}
	return "info"
}
