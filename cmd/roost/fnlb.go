package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
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
	"roost/internal/upgrade"
)

// calledAs is the command that the program's own name stands for: called as fnlb it is fnlb.
func calledAs(name string, args []string) []string {
	if strings.TrimSuffix(filepath.Base(name), ".exe") == "fnlb" && (len(args) == 0 || args[0] != "fnlb") {
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
	boundMemory()
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("LOG_LEVEL: %w", err)
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: threshold}))
	for _, name := range ignored {
		log.Warn("this flag has no effect", "flag", name)
	}
	parent := upgrade.FromParent()
	defer func() {
		if err != nil {
			parent.Fail(err)
		}
	}()
	inherited, err := listen.Inherit()
	if err != nil {
		return err
	}

	dir, done, err := ownDirectory(f.State)
	if err != nil {
		return err
	}
	defer done()
	sockets := fnlb.SocketsIn(dir, os.Getpid())
	text, err := f.Config(sockets, level)
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
		Listed: func(ctx context.Context, l roost.Listing) error { return unlessEnding(b.List(ctx, l)) },
		Status: func() roost.Status { return b.Status() }})
	nodes := f.Nodes
	if parent != nil {
		nodes = nil // an upgrade is no start: what was deleted since then stays deleted
	}
	listing, err := lb.Begin(ctx, nodes)
	if err != nil {
		return err
	}
	own, err := fnlb.Open(sockets.Own)
	if err != nil {
		return err
	}
	defer own.Close()
	rewrite, err := fnlb.Open(sockets.Rewrite)
	if err != nil {
		return err
	}
	defer rewrite.Close()
	o := serve.Options{Version: version(), LogTo: stderr, Listed: []roost.Listing{listing}, Record: lb.Observe, Drain: f.Shutdown,
		Inherited: inherited, Parent: parent}
	if !fnlb.InMemory(f.DB) { // else the new process would not know the nodes that this one was told
		o.Program = &upgrade.Options{}
	}
	if b, err = serve.Open(cfg, o); err != nil {
		return err
	}

	// What answers beside traffic outlives ctx: requests that drain may need it.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	parts := []func() error{
		func() error { return lb.Run(inner) },
		func() error { return fnlb.Serve(inner, own, lb.Handler(), log) },
		func() error { return fnlb.Serve(inner, rewrite, fnlb.Rewriter(sockets.Inner, log), log) },
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

// ownDirectory makes the directory for sockets by which the process talks to itself, readable by us alone: below state, so
// that an upgrade finds it again, else a temporary one.
func ownDirectory(state string) (dir string, done func(), err error) {
	if state == "off" {
		if dir, err = os.MkdirTemp("", "fnlb-"); err != nil {
			return "", nil, fmt.Errorf("make a directory for sockets: %w", err)
		}
		return dir, func() { os.RemoveAll(dir) }, nil
	}
	if dir, err = filepath.Abs(filepath.Join(state, "fnlb")); err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", nil, fmt.Errorf("make a directory for sockets: %w", err)
	}
	return dir, func() {}, nil
}

// unlessEnding leaves out that a balancer takes no changes while it ends, or was replaced: that is no fault of the table.
func unlessEnding(err error) error {
	if e := (*roost.ChangeError)(nil); errors.As(err, &e) && e.Code == roost.CodeEnding {
		return nil
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
