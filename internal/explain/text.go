package explain

import (
	"fmt"
	"io"
	"text/tabwriter"

	"roost/internal/api"
)

// Text writes an explanation for people.
func Text(w io.Writer, a *api.Explanation) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "listener\t%s\n", a.Listener)
	if a.Route == "" {
		fmt.Fprintf(tw, "route\tnone\n")
	} else {
		fmt.Fprintf(tw, "route\t%s\n", a.Route)
		fmt.Fprintf(tw, "pool\t%s\n", a.Pool)
		fmt.Fprintf(tw, "table\t%s (epoch %s, %d slots)\n", a.Digest, a.Epoch, a.Slots)
	}
	switch {
	case a.HasKey && a.Unverified:
		fmt.Fprintf(tw, "key\t%q by %s (unverified token)\n", a.Key, a.KeyProgram)
	case a.HasKey:
		fmt.Fprintf(tw, "key\t%q by %s\n", a.Key, a.KeyProgram)
	case a.Route != "":
		fmt.Fprintf(tw, "key\tnone\n")
	}
	if a.HasKey {
		fmt.Fprintf(tw, "slot\t%d", a.Slot)
		if a.Exception != "" {
			fmt.Fprintf(tw, ", but the key has an exception: %s", a.Exception)
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
	if len(a.Candidates) > 0 {
		load := "idle pool; no running balancer was asked"
		if a.Live {
			load = "loads of the running balancer"
		}
		fmt.Fprintf(w, "\ncandidates, best first (%s)\n", load)
		for i := range a.Candidates {
			c := &a.Candidates[i]
			mark, kind := " ", "successor"
			if c.Chosen {
				mark = "→"
			}
			if c.Home {
				kind = "home"
			}
			fmt.Fprintf(tw, "%s %d\t%s\t%s\t%s\t%s\t%d in flight of %d\n", mark, i+1, kind, c.Node, c.Verdict, c.Duty, c.InFlight, c.Limit)
		}
		tw.Flush()
	}
	if a.Choice != "" {
		fmt.Fprintf(w, "\nchoice: %s, because: %s\n", a.Choice, a.Why)
	} else {
		fmt.Fprintf(w, "\nno choice: %s\n", a.Why)
	}
	for _, n := range a.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
}
