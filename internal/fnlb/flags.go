package fnlb

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// Flags are fnlb's flags, in their final version, and two of Roost's.
type Flags struct {
	Nodes      []string // -nodes; written to the table at each start
	Listen     string
	MgmtListen string // the same text as Listen: both on one port
	DB         string // URL of the table of nodes
	Shutdown   time.Duration
	HC         HealthCheck
	Rewrite    bool // of fn's invoke endpoints

	State string // Roost's: directory of what lasts, "off" for none
	Admin string // Roost's: address of its own admin listener, or off
}

// HealthCheck says how nodes are probed.
type HealthCheck struct {
	Interval, Timeout  time.Duration
	Path               string
	Unhealthy, Healthy int
	MinVersion         string
}

// maxSeconds bounds what flags give in seconds: ten years.
const maxSeconds = 10 * 365 * 24 * 3600

// Parse reads the arguments behind the command's name, with one dash or two. After -h it returns flag.ErrHelp, with the
// help written to out. Every other error says which flag is wrong, and why.
func Parse(args []string, out io.Writer) (Flags, error) {
	var f Flags
	var nodes, zipkin, namespace, selector string
	var targetPort, shutdown, interval, timeout int
	fs := flag.NewFlagSet("fnlb", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are the caller's to show, once
	fs.StringVar(&nodes, "nodes", "", "`nodes` to begin with, host:port separated by commas; they are added to the table")
	fs.StringVar(&f.Listen, "listen", ":8081", "`address` that takes traffic")
	fs.StringVar(&f.MgmtListen, "mgmt-listen", ":8081", "`address` of /1/lb/; when it is the same text as -listen, both share it")
	fs.StringVar(&f.DB, "db", "sqlite3://:memory:", "`URL` of the table of nodes: sqlite3:///path or sqlite3://:memory:")
	fs.IntVar(&shutdown, "shutdown-timeout", 0, "how many `seconds` requests may take to end after SIGTERM; 0 for no limit")
	fs.IntVar(&interval, "hc-interval", 3, "`seconds` between two probes of a node, and between two looks at the table")
	fs.StringVar(&f.HC.Path, "hc-path", "/version", "`path` that is probed; its answer is JSON with a version")
	fs.IntVar(&f.HC.Unhealthy, "hc-unhealthy", 2, "failed probes in a row that take a node out")
	fs.IntVar(&f.HC.Healthy, "hc-healthy", 1, "good probes in a row that bring it back")
	fs.IntVar(&timeout, "hc-timeout", 5, "how many `seconds` a probe may take; not more than -hc-interval is used")
	fs.StringVar(&f.HC.MinVersion, "min-api-version", "0.0.235", "lowest `version` that a node may answer with")
	fs.StringVar(&zipkin, "zipkin", "", "not supported: spans are not sent")
	fs.StringVar(&namespace, "namespace", "", "not supported: with -db k8s only")
	fs.StringVar(&selector, "label-selector", "", "not supported: with -db k8s only")
	fs.IntVar(&targetPort, "target-port", 8080, "not supported: with -db k8s only")
	fs.BoolVar(&f.Rewrite, "rewrite-endpoints", true, "let fn's clients invoke through this balancer: the endpoints in answers of /v2/fns and /v2/triggers name it")
	fs.StringVar(&f.State, "state", "off", "`directory` for what lasts (pins, weights, holds) and for the admin socket, or off")
	fs.StringVar(&f.Admin, "admin", "off", "`address` of the admin API and /metrics, or off; needs -state")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(out, "Usage of fnlb:")
			fs.SetOutput(out)
			fs.PrintDefaults()
		}
		return f, err
	}
	f.Nodes = split(nodes)
	switch {
	case fs.NArg() > 0:
		return f, fmt.Errorf("%q is no flag; all of fnlb's arguments are", fs.Arg(0))
	case f.DB == "k8s":
		return f, errors.New("-db k8s: pods are not watched yet; list nodes with -nodes, or add them through /1/lb/nodes")
	case f.HC.Unhealthy < 1 || f.HC.Unhealthy > 100:
		return f, fmt.Errorf("-hc-unhealthy %d: give 1 to 100", f.HC.Unhealthy)
	case f.HC.Healthy < 1 || f.HC.Healthy > 100:
		return f, fmt.Errorf("-hc-healthy %d: give 1 to 100", f.HC.Healthy)
	case !strings.HasPrefix(f.HC.Path, "/"):
		return f, fmt.Errorf("-hc-path %q: a path begins with /", f.HC.Path)
	case interval < 1 || interval > 3600:
		return f, fmt.Errorf("-hc-interval %d: give 1 to 3600 seconds", interval)
	case timeout < 1 || timeout > maxSeconds:
		return f, fmt.Errorf("-hc-timeout %d: give at least 1 second", timeout)
	case f.Admin != "off" && f.State == "off":
		return f, fmt.Errorf("-admin %s: give -state too, for its token", f.Admin)
	case shutdown < 0 || shutdown > maxSeconds:
		return f, fmt.Errorf("-shutdown-timeout %d: give seconds, or 0 for no limit", shutdown)
	}
	f.Shutdown = time.Duration(shutdown) * time.Second
	if shutdown == 0 {
		f.Shutdown = math.MaxInt64
	}
	f.HC.Interval = time.Duration(interval) * time.Second
	f.HC.Timeout = time.Duration(min(timeout, interval, 60)) * time.Second
	return f, nil
}

// Ignored are the flags that were given and have no effect, for a warning: each changes what somebody sees, not where
// traffic goes.
func Ignored(args []string) []string {
	var names []string
	for _, a := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		switch name {
		case "zipkin", "namespace", "label-selector", "target-port":
			if strings.HasPrefix(a, "-") {
				names = append(names, "-"+name)
			}
		}
	}
	return names
}

// InMemory tells whether a table's URL is that of one that ends with its process.
func InMemory(url string) bool { return strings.Contains(url, ":memory:") }

// Shared tells whether traffic and management have one port: fnlb compares the texts.
func (f Flags) Shared() bool { return f.Listen == f.MgmtListen }

func split(list string) []string {
	var out []string
	for _, s := range strings.Split(list, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}
