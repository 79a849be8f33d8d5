package main

import (
	"fmt"
	"io"
	"strconv"
)

// Verdict is how Roost did in a case.
type Verdict struct {
	Case  string  `json:"case"`
	Name  string  `json:"contestant"`
	Peer  string  `json:"better_peer,omitempty"`
	Its   string  `json:"peers_figure"`
	Ours  string  `json:"figure"`
	Ratio float64 `json:"ratio"`
	Goal  Goal    `json:"goal"`
	OK    string  `json:"ok"` // aim, must, NO; yes where there is only one measure; - where nothing was set or measured
	P50x  float64 `json:"p50_ratio"`
	P99x  float64 `json:"p99_ratio"`
	P999x float64 `json:"p999_ratio"`
}

// verdicts judges every contestant of a case that is no peer.
func (r *Result) verdicts() (vs []Verdict) {
	of := r.Case.Goal.Of
	for _, row := range r.Rows {
		if row.Peer {
			continue
		}
		v := Verdict{Case: r.Case.Name, Name: row.Name, Peer: r.Better, Its: "-", Ours: r.figure(row.Median), Goal: r.Case.Goal, OK: "-",
			P50x: row.P50x, P99x: row.P99x, P999x: row.P999x}
		for _, peer := range r.Rows {
			if peer.Name == r.Better {
				v.Its = r.figure(peer.Median)
				v.Ratio = ratio(row.Rounds, peer.Rounds, of.of)
			}
		}
		if row.Invalid != "" {
			v.Ours, v.OK = "-", "NO"
		} else {
			v.OK = r.judge(row.Median, v.Ratio)
		}
		vs = append(vs, v)
	}
	return vs
}

// figure is what of a sample stands in the verdict.
func (r *Result) figure(s Sample) string {
	if r.Case.Kind == Flooded {
		return strconv.FormatInt(s.Served, 10) + " served"
	}
	switch r.Case.Goal.Of {
	case Memory:
		return fmt.Sprintf("%.2f KiB", s.Memory/1024)
	case P99:
		return micros(s.P99)
	}
	return fmt.Sprintf("%.2f us", s.CPU)
}

func (r *Result) judge(s Sample, ratio float64) string {
	judged, g := ratio, r.Case.Goal
	switch {
	case r.Case.Kind == Flooded:
		n := int64(r.Case.Limit)
		return yes(s.Served == n && s.Kept == n && s.Refused+s.Closed == s.Requests-n)
	case r.Case.Kind == Slow:
		return yes(s.Errors == 0)
	case g.Of == Memory:
		judged = s.Memory / 1024
	case ratio == 0 || g.Must == 0:
		return "-"
	}
	if s.Errors > 0 {
		return "NO" // what fails is no work done
	}
	switch {
	case judged <= g.Aim:
		return "aim"
	case judged <= g.Must:
		return "must"
	}
	return "NO"
}

func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return "NO"
}

// summary prints the verdicts for people.
func summary(w io.Writer, vs []Verdict) error {
	rows := [][]string{{"case", "", "better peer", "its", "Roost", "ratio", "must", "aim", "ok?", "p50 x", "p99 x", "p99.9 x"}}
	for _, v := range vs {
		must, aim := "-", "-"
		if unit := ""; v.Goal.Must > 0 {
			if v.Goal.Of == Memory {
				unit = " KiB"
			}
			must, aim = fmt.Sprintf("%.2f%s", v.Goal.Must, unit), fmt.Sprintf("%.2f%s", v.Goal.Aim, unit)
		}
		peer := v.Peer
		if peer == "" {
			peer = "-"
		}
		rows = append(rows, []string{v.Case, v.Name, peer, v.Its, v.Ours, times(v.Ratio), must, aim, v.OK, times(v.P50x), times(v.P99x), times(v.P999x)})
	}
	_, err := io.WriteString(w, align(rows))
	return err
}
