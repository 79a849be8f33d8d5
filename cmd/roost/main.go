// Command roost is a load balancer that keeps what belongs together together: all traffic of a key comes home to the
// same few servers.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, the same for every command.
const (
	exitOK     = 0
	exitFail   = 1 // it was understood and did not succeed
	exitUsage  = 2 // it was not understood, or cannot be read
	exitWait   = 3 // it was accepted, but --wait ended before it was done
	exitNobody = 4 // no balancer answers
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal is nobody's: it ends the program at once, unless a command asks for it
	code := run(ctx, calledAs(os.Args[0], os.Args[1:]), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// failure ends a command with a code of its own. Its text was already shown when err is nil.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string {
	if f.err == nil {
		return ""
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// program is the whole command line.
func program() *cobra.Command {
	root := &cobra.Command{
		Use:   "roost",
		Short: "A load balancer that keeps what belongs together together",
		Long: "Roost brings all traffic of a key (a function, tenant, room, device group, session) home to the same few servers.\n\n" +
			"'serve' runs it. All commands that look and change ask the balancer that runs on this machine, over its unix socket;\n" +
			"--admin-url asks another. They take -o json, and end with 0 when the wish is met, 1 when it was understood and not done,\n" +
			"2 when it was not understood, 3 when --wait ended before it was done, 4 when no balancer answers.",
		Example: "  roost serve --listen :8080 --nodes a:9001,b:9002,c:9003\n" +
			"  roost status\n" +
			"  roost explain http://localhost:8080/r/app/hello\n" +
			"  roost nodes drain a:9001 --wait",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see '%s --help'", err, cmd.CommandPath())
	})
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"run", "Run:", []*cobra.Command{serveCommand(), fnlbCommand(), demoCommand()}},
		{"look", "Look:", []*cobra.Command{statusCommand(), explainCommand(), tableCommand(), configCommand(), eventsCommand()}},
		{"change", "Change:", []*cobra.Command{nodesCommand(), poolsCommand(), keysCommand(), reloadCommand(), upgradeCommand()}},
		{"tools", "Tools:", []*cobra.Command{checkCommand(), versionCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
		}
		root.AddCommand(g.commands...)
	}
	root.SetHelpCommandGroupID("tools")
	root.SetCompletionCommandGroupID("tools")
	return root
}

// run is everything but signals and exit.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := program()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.InitDefaultCompletionCmd() // cobra's own takes any shell for help
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		c.Args, c.RunE = verbs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var f *failure
	if !errors.As(err, &f) { // cobra's own errors are all about how the command was called
		f = &failure{code: exitUsage, err: fmt.Errorf("%w; see 'roost --help'", err)}
	}
	if text := f.Error(); text != "" {
		fmt.Fprintln(stderr, "roost: "+text)
	}
	return f.code
}

// version is what the build knows of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
