package demo_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/config"
	"roost/internal/demo"
	"roost/internal/serve"
)

// balance runs the real balancer, as the command does.
func balance(ctx context.Context, nodes []demo.Node, listening func(string)) error {
	f := config.Flags{Listen: []string{"127.0.0.1:0"}, State: "off", Admin: "off"}
	for _, n := range nodes {
		f.Nodes = append(f.Nodes, n.Name+"="+n.Addr)
	}
	cfg, diags := config.FromFlags(f)
	if diags.Failed() {
		var b bytes.Buffer
		diags.Text(&b)
		return errors.New(b.String())
	}
	return serve.Run(ctx, cfg, serve.Options{Listening: func(ls []roost.ListenerStatus) { listening(ls[0].Address) }})
}

func TestFunctionsComeHomeAndOnlyTheDeadNodesStartAgain(t *testing.T) {
	var out bytes.Buffer
	r, err := demo.Run(t.Context(), demo.Options{Balance: balance, Out: &out, For: 2 * time.Second, Rate: 300, Seed: 1, Functions: 40,
		Cold: 40 * time.Millisecond})
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
	k := r.Roost.Kill
	if k == nil || r.RoundRobin.Kill == nil {
		t.Fatal("no node was killed")
	}
	if x := k.PerFunction(); x < 1 || x > 1.1 {
		t.Errorf("Roost: %.2f cold starts per function until the kill", x)
	}
	if r.RoundRobin.PerFunction() < 2*r.Roost.PerFunction() {
		t.Errorf("round robin: %.2f cold starts per function, Roost %.2f", r.RoundRobin.PerFunction(), r.Roost.PerFunction())
	}
	// More often than once only when so many calls wait for a start that some spill to the next home.
	if k.Homes == 0 || k.Back == 0 || k.Restarts < k.Back || k.Restarts > 2*k.Back {
		t.Errorf("of %d functions at home on the dead node %d were called again, and started %d times", k.Homes, k.Back, k.Restarts)
	}
	if k.Again != 0 || k.Moved != 0 {
		t.Errorf("of the living nodes' functions %d started again and %d moved", k.Again, k.Moved)
	}
	if r.Roost.Failed != 0 || r.Roost.Calls < 400 || r.Roost.Calls != r.RoundRobin.Calls {
		t.Errorf("%d of %d calls failed through Roost; round robin had %d", r.Roost.Failed, r.Roost.Calls, r.RoundRobin.Calls)
	}
	for _, want := range []string{"cold starts per function", "Failed calls: 0 of"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the result does not say %q", want)
		}
	}
}

func TestTheDemoEndsWhenItIsInterruptedAndSaysWhatItSaw(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	first := writer(func(p []byte) (int, error) { // the title is out: the load runs
		cancel()
		return out.Write(p)
	})
	r, err := demo.Run(ctx, demo.Options{Balance: balance, Out: first, Functions: 40})
	if err != nil {
		t.Fatal(err)
	}
	if r.Roost.Kill != nil || !strings.Contains(out.String(), "before any node was killed") {
		t.Errorf("%s", out.String())
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestABalancerThatFailsEndsTheDemo(t *testing.T) {
	broken := errors.New("no luck")
	for name, b := range map[string]demo.Balance{
		"at the start": func(context.Context, []demo.Node, func(string)) error { return broken },
		"in the middle": func(_ context.Context, _ []demo.Node, listening func(string)) error {
			listening("127.0.0.1:1")
			return broken
		},
	} {
		if _, err := demo.Run(t.Context(), demo.Options{Balance: b, Out: &bytes.Buffer{}}); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
