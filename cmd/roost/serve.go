package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"roost"
	"roost/internal/config"
	"roost/internal/listen"
	"roost/internal/serve"
	"roost/internal/upgrade"
)

// source is where a command's configuration comes from: a file, or flags alone.
type source struct {
	file  string
	nodes string
	flags config.Flags
}

// register adds the flags. They stand for a configuration file with one listener set, one route and one pool.
func (s *source) register(fs *pflag.FlagSet) {
	fs.StringVarP(&s.file, "config", "c", "", "configuration file; then the flags below are not used")
	fs.StringSliceVar(&s.flags.Listen, "listen", nil, "address to listen on, e.g. :8080 or unix:/run/roost.sock; repeatable (default :8080)")
	fs.StringVar(&s.nodes, "nodes", "", "nodes, separated by commas: host:port, [v6]:port or unix:/path, each optionally NAME=ADDRESS*WEIGHT")
	fs.IntVar(&s.flags.Homes, "homes", 0, "ordered homes of a key, used first to last as its load grows (default 3)")
	fs.StringVar(&s.flags.Key, "key", "", "what must stay together: path, path[N], host, method, header:NAME, query:NAME, cookie:NAME, jwt:CLAIM, client_ip, sni, none, or a template such as '{header:X-Org}/{path[0]}' (default path)")
	fs.StringVar(&s.flags.OnMissing, "on-missing-key", "", "a request without key: balance, reject or client_ip (default balance)")
	fs.StringVar(&s.flags.Health, "health", "", "how nodes are probed: a path such as /healthz, tcp, or none (default tcp)")
	fs.BoolVar(&s.flags.TCP, "tcp", false, "pass raw connections instead of HTTP; keys are sni, client_ip, bytes[0:8] and the like")
	fs.StringVar(&s.flags.Protocol, "protocol", "", "what nodes speak: auto (HTTP/1.1, gRPC by HTTP/2), http1 or h2c (default auto)")
	fs.StringVar(&s.flags.TLSCert, "tls-cert", "", "certificate chain (PEM) of the listeners; with --tls-key")
	fs.StringVar(&s.flags.TLSKey, "tls-key", "", "private key (PEM) of the listeners")
	fs.StringVar(&s.flags.State, "state", "", "directory of what must last, or off (default $STATE_DIRECTORY, /var/lib/roost for root, else ~/.local/state/roost)")
	fs.StringVar(&s.flags.Store, "store", "", "what keeps changes made through the API: sqlite, memory, or the path of a database (default sqlite)")
	fs.StringVar(&s.flags.Engine, "engine", "", "what carries traffic: reactor (event loops, on Linux), std (goroutines), or auto (default auto)")
	fs.IntVar(&s.flags.Loops, "loops", 0, "event loops of the engine reactor (default as many as there are CPUs for the process)")
	fs.StringVar(&s.flags.Admin, "admin", "", "admin listener, loopback only, or off (default 127.0.0.1:7070)")
	fs.StringVar(&s.flags.Socket, "admin-socket", "", "unix socket for the command line, or off (default roost.sock in $RUNTIME_DIRECTORY or the state directory)")
	fs.StringVar(&s.flags.Access, "access-log", "", "access log: off, stdout or a file (default off)")
	fs.StringVar(&s.flags.LogLevel, "log-level", "", "debug, info, warn or error (default info)")
	fs.StringVar(&s.flags.LogFormat, "log-format", "", "text or json (default text)")
}

// load reads the configuration and shows what is wrong with it. A failure with diagnostics shown has no text of its
// own.
func (s *source) load(fs *pflag.FlagSet, stderr io.Writer) (*roost.Config, error) {
	var cfg *roost.Config
	var diags config.Diagnostics
	if s.file != "" {
		var clash []string
		mine := pflag.NewFlagSet("", pflag.ContinueOnError)
		new(source).register(mine)
		mine.VisitAll(func(f *pflag.Flag) {
			if f.Name != "config" && fs.Changed(f.Name) {
				clash = append(clash, "--"+f.Name)
			}
		})
		if len(clash) > 0 {
			return nil, usage("%s cannot be given beside -c: the file says it all", strings.Join(clash, ", "))
		}
		var err error
		if cfg, diags, err = config.Load(s.file); err != nil {
			return nil, &failure{code: exitUsage, err: err}
		}
	} else {
		if !fs.Changed("nodes") {
			return nil, usage("give --nodes host:port,... or a configuration file with -c")
		}
		if s.nodes != "" { // else the API will bring some
			s.flags.Nodes = strings.Split(s.nodes, ",")
		}
		s.flags.HomesSet = fs.Changed("homes")
		cfg, diags = config.FromFlags(s.flags)
	}
	diags.Text(stderr)
	if diags.Failed() {
		return nil, &failure{code: exitFail}
	}
	return cfg, nil
}

func serveCommand() *cobra.Command {
	var s source
	o := serve.Options{Version: version()}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Balance traffic",
		Long: "Serve balances until SIGTERM or Ctrl-C; then it lets requests in flight end, and a second signal cuts them off.\n" +
			"SIGHUP reads the configuration file again, as a change of it does by itself. SIGUSR1 opens the access log by its name\n" +
			"again, after it was rotated.",
		Example: "  roost serve --listen :8080 --nodes a:9001,b:9002,c:9003\n" +
			"  roost serve --nodes a:9001,b:9002 --key header:X-Org --health /healthz\n" +
			"  roost serve -c roost.yaml",
		Args: cobra.NoArgs,
	}
	s.register(cmd.Flags())
	cmd.Flags().DurationVar(&o.Drain, "drain", serve.DefaultDrain, "how long requests in flight may take to end after SIGTERM")
	cmd.Flags().DurationVar(&o.UpgradeDrain, "upgrade-drain", serve.DefaultUpgradeDrain, "how long connections may stay with this process after an upgrade")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for name, d := range map[string]time.Duration{"drain": o.Drain, "upgrade-drain": o.UpgradeDrain} {
			if d <= 0 {
				return usage("--%s: %v is not a time to wait; write for example 25s", name, d)
			}
		}
		signals := listenToSignals()
		defer signal.Stop(signals)
		defer outliveReaders()()
		boundMemory()
		parent := upgrade.FromParent()
		err := s.serve(cmd, o, parent, signals)
		if err != nil && err.Error() != "" { // else the diagnostics on standard error say it
			parent.Fail(err)
		}
		return err
	}
	return cmd
}

func (s *source) serve(cmd *cobra.Command, o serve.Options, parent *upgrade.Parent, signals <-chan os.Signal) error {
	inherited, err := listen.Inherit()
	if err != nil {
		return &failure{code: exitFail, err: fmt.Errorf("serve: %w", err)}
	}
	cfg, err := s.load(cmd.Flags(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if s.file != "" {
		o.Load = func() (*roost.Config, config.Diagnostics, error) { return config.Load(s.file) }
	}
	o.LogTo, o.Inherited, o.Parent, o.Program = cmd.ErrOrStderr(), inherited, parent, &upgrade.Options{}
	b, err := serve.Open(cfg, o)
	if err == nil {
		err = steer(cmd.Context(), b, signals)
	}
	switch {
	case errors.Is(err, serve.ErrCut):
		return &failure{code: exitFail, err: err}
	case err != nil:
		return &failure{code: exitFail, err: fmt.Errorf("serve: %w", err)}
	}
	return nil
}

// listenToSignals takes the signals that mean something to a balancer; it is called before anything that takes time, because
// SIGHUP would end the program.
func listenToSignals() chan os.Signal {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	return signals
}

// outliveReaders keeps what serves alive when whoever read its standard output or error has gone: lines are lost then, and
// traffic goes on. Without it SIGPIPE ends the program, as it should end one that was asked something.
func outliveReaders() (stop func()) {
	gone := make(chan os.Signal, 1) // the failed write says it all
	signal.Notify(gone, syscall.SIGPIPE)
	return func() { signal.Stop(gone) }
}

// steer runs b until ctx ends, and does what signals say. The first one that ends the program ends ctx, in main; the second
// is a hurry, and a third is the system's to handle.
func steer(ctx context.Context, b *serve.Balancer, signals <-chan os.Signal) error {
	running, ended := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		for ends := 0; ; {
			var s os.Signal
			select {
			case <-running.Done():
				return
			case s = <-signals:
			}
			switch s {
			case syscall.SIGHUP:
				b.Reload(running, serve.BySignal, false)
			case syscall.SIGUSR1:
				b.ReopenLogs()
			default:
				if ends++; ends == 2 {
					signal.Reset(os.Interrupt, syscall.SIGTERM)
					b.Hurry()
				}
			}
		}
	})
	err := b.Run(ctx)
	ended()
	wg.Wait()
	return err
}
