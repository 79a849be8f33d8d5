// Bench measures what proxies cost: it starts Roost and the peers found on this machine (HAProxy, nginx), an upstream
// and a load generator, and compares CPU per request, requests per second and latencies.
//
// Guarantee: all contestants do the same work (affinity by the header X-Key, or by the client's address in a relay;
// X-Forwarded-For, connections to the nodes kept, TLS 1.3 with one key, curve and cipher, no access log), which is checked
// before a figure is taken; a case runs all of them interleaved, A B C A B C, and compares within a round. CPU is the
// proxy's own, from the kernel's accounting of all its threads; so is its memory.
//
// Trap: on a shared machine requests per second and latencies are comparable within one table only, and only roughly;
// the ratios of CPU per request hold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// options are the command line.
type options struct {
	cases   []Case
	only    []string
	rounds  int
	seconds float64
	json    bool
	roost   string
}

func main() {
	// Children are killed when the thread that started them ends (PR_SET_PDEATHSIG), and inherit its CPUs. This one
	// stays as long as the process does.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command is main without the exit: 0 done, 1 failed, 2 used wrongly.
func command(ctx context.Context, args []string, out, errs io.Writer) int {
	if isChild(args) {
		if err := child(args[0], args[1], out); err != nil {
			fmt.Fprintf(errs, "bench %s: %v\n", args[0], err)
			return 1
		}
		return 0
	}
	o, err := parse(args, errs)
	if err == flag.ErrHelp {
		return 0
	}
	if err != nil {
		fmt.Fprintf(errs, "bench: %v\n", err)
		return 2
	}
	err = run(ctx, o, out, errs)
	if ctx.Err() != nil {
		err = errors.New("interrupted") // what else went wrong is a consequence
	}
	if err != nil {
		fmt.Fprintf(errs, "bench: %v\n", err)
		return 1
	}
	return 0
}

// What the bench starts itself as: with a Load as JSON, but for the upstream.
const (
	childUpstream = "upstream"
	childLoad     = "load"
	childDrip     = "drip"
)

func isChild(args []string) bool {
	return len(args) == 2 && slices.Contains([]string{childUpstream, childLoad, childDrip}, args[0])
}

const (
	maxRounds  = 100 // rounds beyond this sharpen no median
	maxSeconds = 60  // of one run: enough for any steady state here, and it bounds the whole
)

func parse(args []string, errs io.Writer) (options, error) {
	o := options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(errs)
	names := fs.String("cases", "", "cases to run, by comma; all when empty")
	only := fs.String("only", "", "contestants to run, by comma ("+strings.Join(contestantNames(), ", ")+"); when empty all but those of Roost that name an engine")
	fs.IntVar(&o.rounds, "rounds", 3, "rounds of each case; medians are taken over them")
	fs.Float64Var(&o.seconds, "seconds", 1.5, "length of one run, after a warm-up of a quarter of it")
	fs.BoolVar(&o.json, "json", false, "print JSON instead of tables")
	fs.StringVar(&o.roost, "roost", "", "a built roost to run, instead of building ./cmd/roost")
	fs.Usage = func() {
		fmt.Fprintln(errs, "usage: go run ./bench [flags]")
		fs.PrintDefaults()
		fmt.Fprintln(errs, "cases:")
		for _, c := range cases {
			fmt.Fprintf(errs, "  %-13s %s\n", c.Name, c.About)
		}
	}
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("what is %q? only flags are taken", fs.Arg(0))
	}
	if o.rounds < 1 || o.rounds > maxRounds {
		return o, fmt.Errorf("-rounds %d: from 1 to %d", o.rounds, maxRounds)
	}
	if !(o.seconds >= 0.1 && o.seconds <= maxSeconds) {
		return o, fmt.Errorf("-seconds %g: from 0.1 to %d", o.seconds, maxSeconds)
	}
	o.cases = cases
	if *names != "" {
		o.cases = nil
		for name := range strings.SplitSeq(*names, ",") {
			i := slices.IndexFunc(cases, func(c Case) bool { return c.Name == name })
			if i < 0 {
				return o, fmt.Errorf("-cases: no case %q; -help lists them", name)
			}
			o.cases = append(o.cases, cases[i])
		}
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
		for _, name := range o.only {
			if !slices.Contains(contestantNames(), name) {
				return o, fmt.Errorf("-only: no contestant %q; there are %s", name, strings.Join(contestantNames(), ", "))
			}
		}
	}
	return o, nil
}
