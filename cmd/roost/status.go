package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roost"
	"roost/internal/client"
)

func statusCommand() *cobra.Command {
	var o online
	var quiet bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how the balancer is, worst things first",
		Long: "Status says in a sentence whether all is well, else what is not, worst things first; then it shows listeners, pools and\n" +
			"nodes. With --quiet it shows nothing: exit code 0 means ready, 1 not ready, 4 that no balancer answers.",
		Example: "  roost status\n" +
			"  roost status -o json | jq '.pools[].nodes[] | select(.verdict == \"dead\")'",
		Args: arguments(0, 0),
	}
	o.register(cmd.Flags())
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show nothing; the exit code says whether it is ready")
	cmd.RunE = o.run(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		s, err := c.Status(cmd.Context())
		switch {
		case quiet && errors.Is(err, client.ErrNobody):
			return &failure{code: exitNobody}
		case quiet && (err != nil || !s.Ready):
			return &failure{code: exitFail}
		case err != nil, quiet:
			return err
		case o.output == "json":
			return asJSON(cmd.OutOrStdout(), s)
		}
		return showStatus(cmd.OutOrStdout(), s, time.Now())
	})
	return cmd
}

const (
	maxProblems    = 10 // shown by status; who has more starts with the first
	maxStatusNodes = 20 // shown by status; more have a command of their own
)

// showStatus tells a status on one screen.
func showStatus(w io.Writer, s *roost.Status, now time.Time) error {
	var b strings.Builder
	var nodes int
	var inFlight int64
	for i := range s.Pools {
		nodes += len(s.Pools[i].Nodes)
		inFlight += s.Pools[i].InFlight
	}
	sum := fmt.Sprintf("1 balancer, %s in %s, %s in flight", count(nodes, "node"), count(len(s.Pools), "pool"), count(inFlight, "request"))
	wrong := problems(s, now)
	if len(wrong) == 0 {
		fmt.Fprintf(&b, "All well: %s\n", sum)
	} else {
		fmt.Fprintf(&b, "%s: %s\n", count(len(wrong), "problem"), sum)
	}
	for i, p := range wrong {
		if i == maxProblems {
			fmt.Fprintf(&b, "  and %d more; -o json has them all\n", len(wrong)-i)
			break
		}
		fmt.Fprintf(&b, "  %s\n", p)
	}
	fmt.Fprintf(&b, "\nversion %s, up %s, configuration %s, revision %d\nstore %s\n", clean(s.Version), span(now.Sub(s.Started)),
		s.Config, s.Revision, strings.TrimSpace(s.Store.Kind+" "+clean(s.Store.Path)))
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := showListeners(w, s); err != nil {
		return err
	}
	io.WriteString(w, "\n")
	if err := showPools(w, s.Pools); err != nil || nodes > maxStatusNodes || nodes == 0 {
		return err
	}
	io.WriteString(w, "\n")
	return showNodes(w, poolNodes(s.Pools))
}

// problems says what is wrong, worst first: what fails requests, what cannot be changed, what serves less, and what was
// asked for and left out.
func problems(s *roost.Status, now time.Time) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, clean(fmt.Sprintf(format, args...))) }
	switch {
	case s.Draining:
		add("it is ending: it takes no new connections")
	case !s.Ready:
		add("it is not ready")
	}
	for i := range s.Pools {
		if p := &s.Pools[i]; p.Panic {
			add("pool %s: every node is dead; requests are tried anyway", p.ID)
		} else if len(p.Nodes) == 0 {
			add("pool %s has no nodes: requests are answered 503; 'roost nodes add' lists one", p.ID)
		}
	}
	if s.Store.Fault != "" {
		add("store: %s; nothing can be changed", s.Store.Fault)
	}
	if !s.Reload.OK {
		add("the reload by %s %s ago failed; the configuration before it is in use", s.Reload.By, span(now.Sub(s.Reload.At)))
		for i := range s.Reload.Errors {
			lines[len(lines)-1] += "\n    " + clean(mistake(&s.Reload.Errors[i]))
		}
	}
	lines = append(lines, nodeProblems(s, now)...)
	for i := range s.Listeners {
		for _, c := range s.Listeners[i].Certificates {
			if left := c.NotAfter.Sub(now); left < 0 {
				add("listener %s: the certificate %s expired %s ago", s.Listeners[i].Name, c.File, span(-left))
			} else if left < expirySoon {
				add("listener %s: the certificate %s expires in %s", s.Listeners[i].Name, c.File, span(left))
			}
		}
	}
	for i := range s.Pools {
		for _, n := range s.Pools[i].Notes {
			add("pool %s: %s", s.Pools[i].ID, n)
		}
	}
	return lines
}

// expirySoon is when a certificate's end becomes a problem: those who renew by themselves do so a month before.
const expirySoon = 14 * 24 * time.Hour

// nodeProblems tells the dead nodes, then the ailing ones.
func nodeProblems(s *roost.Status, now time.Time) (lines []string) {
	for _, verdict := range []roost.Verdict{roost.Dead, roost.Ailing} {
		for i := range s.Pools {
			for j := range s.Pools[i].Nodes {
				n := &s.Pools[i].Nodes[j]
				if n.Verdict != verdict.String() {
					continue
				}
				line := fmt.Sprintf("node %s of %s is %s for %s", n.ID, s.Pools[i].ID, n.Verdict, span(now.Sub(n.Since)))
				if n.Reason != "" {
					line += ": " + n.Reason
				}
				lines = append(lines, clean(line))
			}
		}
	}
	return lines
}

// mistake is a mistake as 'roost check' heads it.
func mistake(m *roost.Mistake) string {
	var b strings.Builder
	if m.File != "" {
		b.WriteString(m.File + ":")
		if m.Line > 0 {
			fmt.Fprintf(&b, "%d:%d:", m.Line, m.Column)
		}
		b.WriteString(" ")
	}
	if m.Path != "" {
		b.WriteString(m.Path + ": ")
	}
	b.WriteString(m.Message)
	if m.Fix != "" {
		b.WriteString("; " + m.Fix)
	}
	return b.String()
}

func showListeners(w io.Writer, s *roost.Status) error {
	if len(s.Listeners) == 0 {
		return nil
	}
	var rows [][]string
	for i := range s.Listeners {
		l := &s.Listeners[i]
		tls, state := "", "open"
		if l.TLS {
			tls = "tls"
		}
		if l.Retired {
			state = "retired: it ends with its last connection"
		}
		rows = append(rows, []string{l.Name, l.Address, tls, thousands(l.Connections), state})
	}
	fmt.Fprintln(w)
	return table(w, []string{"LISTENER", "ADDRESS", "TLS", "CONNECTIONS", "STATE"}, rows)
}
