package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxOthers is the share of the machine that may go to others before a table says so.
const maxOthers = 0.05

// column is one figure of a row.
type column struct {
	name string
	of   func(Row) string
}

// columns are what a case of a kind shows.
func columns(k Kind) []column {
	count := func(name string, of func(Sample) int64) column {
		return column{name, func(r Row) string { return strconv.FormatInt(of(r.Median), 10) }}
	}
	number := func(name, format string, of func(Sample) float64) column {
		return column{name, func(r Row) string { return fmt.Sprintf(format, of(r.Median)) }}
	}
	latency := func(name string, of func(Sample) float64) column {
		return column{name, func(r Row) string { return micros(of(r.Median)) }}
	}
	errors := count("errors", func(s Sample) int64 { return s.Errors })
	rss := count("RSS MiB", func(s Sample) int64 { return s.RSS >> 20 })
	if k == Idle {
		return []column{count("connections", func(s Sample) int64 { return s.Requests }),
			number("KiB each", "%.2f", func(s Sample) float64 { return s.Memory / 1024 }), rss,
			count("lost", func(s Sample) int64 { return s.Errors })}
	}
	if k == Flooded {
		return []column{count("connections", func(s Sample) int64 { return s.Requests }), count("served", func(s Sample) int64 { return s.Served }),
			count("served again", func(s Sample) int64 { return s.Kept }), count("503", func(s Sample) int64 { return s.Refused }),
			count("closed", func(s Sample) int64 { return s.Closed }), count("silent", func(s Sample) int64 { return s.Silent }), rss}
	}
	cs := []column{number("req/s", "%.0f", func(s Sample) float64 { return s.RPS }), number("CPU us/req", "%.2f", func(s Sample) float64 { return s.CPU }),
		number("user", "%.2f", func(s Sample) float64 { return s.User }), number("sys", "%.2f", func(s Sample) float64 { return s.Sys }),
		latency("p50", func(s Sample) float64 { return s.P50 }), latency("p99", func(s Sample) float64 { return s.P99 }),
		latency("p99.9", func(s Sample) float64 { return s.P999 }), errors}
	if k == Slow {
		cs = append(cs, latency("p99 alone", func(s Sample) float64 { return s.AloneP99 }), count("slow", func(s Sample) int64 { return s.Slow }),
			count("cut", func(s Sample) int64 { return s.Cut }))
	}
	return append(cs, rss, column{"others", func(r Row) string { return fmt.Sprintf("%.0f %%", r.Median.Others*100) }},
		column{"CPU x", func(r Row) string { return times(r.CPUx) }}, column{"p50 x", func(r Row) string { return times(r.P50x) }},
		column{"p99 x", func(r Row) string { return times(r.P99x) }}, column{"p99.9 x", func(r Row) string { return times(r.P999x) }})
}

// table prints a case for people.
func table(w io.Writer, r Result) error {
	cs := columns(r.Case.Kind)
	head := []string{""}
	for _, c := range cs {
		head = append(head, c.name)
	}
	rows := [][]string{head}
	worst, rounds := 0.0, 0
	for _, row := range r.Rows {
		worst, rounds = max(worst, row.Median.Others), max(rounds, len(row.Rounds))
		cells := []string{row.Name}
		for _, c := range cs {
			cells = append(cells, c.of(row))
		}
		if row.Invalid != "" {
			cells = append(cells, "INVALID: "+row.Invalid)
		}
		rows = append(rows, cells)
	}
	about := r.Case.About
	if r.Case.Share > 0 {
		about += fmt.Sprintf(" (%.0f req/s)", r.Case.Rate)
	}
	than := "no peer to compare with"
	if r.Better != "" {
		than = "x: ratio to " + r.Better + " in the same round"
	}
	doubt := ""
	if worst > maxOthers {
		doubt = fmt.Sprintf("Others used up to %.0f %% of the machine meanwhile: these figures are rough.\n", worst*100)
	}
	_, err := fmt.Fprintf(w, "== %s: %s (median of %d; %s)\n%s%s\n", r.Case.Name, about, rounds, than, align(rows), doubt)
	return err
}

// align lays cells out in columns: the first and the last of a long row to the left, all others to the right.
func align(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row[:min(len(row), len(width))] {
			width[i] = max(width[i], len(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			switch {
			case i == 0:
				fmt.Fprintf(&b, "%-*s", width[0], cell)
			case i < len(width):
				fmt.Fprintf(&b, "  %*s", width[i], cell)
			default:
				b.WriteString("  " + cell)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// micros prints a latency with three digits that say something.
func micros(us float64) string {
	switch {
	case us >= 1e6:
		return fmt.Sprintf("%.2f s", us/1e6)
	case us >= 1e4:
		return fmt.Sprintf("%.1f ms", us/1e3)
	case us >= 1e3:
		return fmt.Sprintf("%.2f ms", us/1e3)
	}
	return fmt.Sprintf("%.0f us", us)
}

func times(x float64) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", x)
}
