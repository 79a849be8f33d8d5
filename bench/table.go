package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxOthers is the share of the machine that may go to others before a table says so.
const maxOthers = 0.05

// table prints a case for people.
func table(w io.Writer, r Result, rounds int) error {
	rows := [][]string{{"", "req/s", "CPU us/req", "user", "sys", "p50", "p99", "p99.9", "errors", "RSS", "others", "CPU x", "p99 x"}}
	worst := 0.0
	for _, row := range r.Rows {
		m := row.Median
		worst = max(worst, m.Others)
		cells := []string{row.Name, fmt.Sprintf("%.0f", m.RPS), fmt.Sprintf("%.2f", m.CPU), fmt.Sprintf("%.2f", m.User),
			fmt.Sprintf("%.2f", m.Sys), micros(m.P50), micros(m.P99), micros(m.P999), strconv.FormatInt(m.Errors, 10),
			fmt.Sprintf("%d MiB", m.RSS>>20), fmt.Sprintf("%.0f %%", m.Others*100), times(row.CPUx), times(row.P99x)}
		if row.Invalid != "" {
			cells = append(cells, "INVALID: "+row.Invalid)
		}
		rows = append(rows, cells)
	}
	than := "no peer to compare with"
	if r.Better != "" {
		than = "x: ratio to " + r.Better + " in the same round"
	}
	doubt := ""
	if worst > maxOthers {
		doubt = fmt.Sprintf("Others used up to %.0f %% of the machine meanwhile: these figures are rough.\n", worst*100)
	}
	_, err := fmt.Fprintf(w, "== %s: %s (median of %d; %s)\n%s%s\n", r.Case.Name, r.Case.About, rounds, than, align(rows), doubt)
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
