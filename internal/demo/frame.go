package demo

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// state is all that is shown at one moment.
type state struct {
	Result
	o      Options
	at     time.Duration
	victim int
	killed bool
	warm   [2][]int // functions on each node; -1: the node is dead
}

// paint colours text, or leaves it when false.
type paint bool

const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (p paint) as(style, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// Widths of the frame: within 80 columns.
const (
	labelWidth  = 25
	columnWidth = 26
	barWidth    = 20
)

// title says to a newcomer what is seen.
func title(s state, p paint) []string {
	return []string{
		p.as(bold, fmt.Sprintf("A function's first call on a node is slow: a cold start, %s.", latency(s.o.Cold))),
		fmt.Sprintf("The same %g calls a second to %d functions go through Roost, which brings each", s.o.Rate, s.o.Functions),
		fmt.Sprintf("function home to one of %d nodes, and through round robin. A node keeps %d warm.", s.o.Nodes, s.o.Capacity),
	}
}

// frame draws a state.
func frame(s state, p paint) []string {
	lines := append(title(s, p), "")
	text := func(label, a, b string) {
		lines = append(lines, strings.TrimRight(left(label, labelWidth)+right(a, columnWidth)+right(b, columnWidth), " "))
	}
	coloured := func(label, a, b string) {
		lines = append(lines, left(label, labelWidth)+p.as(green, right(a, columnWidth))+p.as(yellow, right(b, columnWidth)))
	}
	a, b := &s.Roost, &s.RoundRobin

	coloured(progress(s), "Roost", "round robin")
	text("calls", count(a.Calls), count(b.Calls))
	text("failed", count(a.Failed), count(b.Failed))
	text("cold starts", count(a.Cold), count(b.Cold))
	coloured("  per function", twoDigits(a.PerFunction()), twoDigits(b.PerFunction()))
	top := highest(a.PerSecond, b.PerSecond)
	coloured("  each second", spark(a.PerSecond, top), spark(b.PerSecond, top))
	text("half of all calls within", latency(a.P50), latency(b.P50))
	coloured("99 % of all calls within", latency(a.P99), latency(b.P99))
	lines = append(lines, "")
	for i := range s.warm[sideRoost] {
		label := "warm functions, " + nodeName(i)
		if s.warm[sideRoost][i] < 0 {
			lines = append(lines, left(label, labelWidth)+p.as(red, right("dead", columnWidth)+right("dead", columnWidth)))
			continue
		}
		coloured(label, bar(s.warm[sideRoost][i], s.o.Capacity), bar(s.warm[sideRobin][i], s.o.Capacity))
	}
	lines = append(lines, "")
	if !s.killed {
		return append(lines, p.as(dim, "Soon one node is killed, on both sides."), "", "", "")
	}
	k := a.Kill
	lines = append(lines, p.as(red, fmt.Sprintf("%s was killed at %s, on both sides. Since then:", nodeName(s.victim), clock(k.At))))
	text("cold starts", count(a.Cold-k.Cold), count(b.Cold-b.Kill.Cold))
	text(fmt.Sprintf("  of the %d at home there", k.Homes), count(k.Restarts), "no homes here")
	text("other functions moved", count(k.Moved), "no homes here")
	return lines
}

func progress(s state) string {
	if s.o.For > 0 {
		return clock(min(s.at, s.o.For)) + " of " + clock(s.o.For)
	}
	return clock(s.at) + ", Ctrl-C ends"
}

const plainHead = "          ----------------- Roost -----------------   -------------- round robin --------------\n" +
	"   time    calls failed   cold per fn      p50      p99    calls failed   cold per fn      p50      p99\n"

// plainLine is a state on one line, for files and pipes.
func plainLine(s state) string {
	side := func(d *Side) string {
		return fmt.Sprintf("%8s %6s %6s %6s %8s %8s", count(d.Calls), count(d.Failed), count(d.Cold), twoDigits(d.PerFunction()), latency(d.P50),
			latency(d.P99))
	}
	return fmt.Sprintf("%7s %s %s\n", clock(s.at), side(&s.Roost), side(&s.RoundRobin))
}

// summary says the result in figures.
func summary(s state) string {
	var b strings.Builder
	a, r := &s.Roost, &s.RoundRobin
	ak, rk := a.Kill, r.Kill
	when := "Until " + nodeName(s.victim) + " was killed"
	if !s.killed {
		when = "Until the end, before any node was killed"
		ak, rk = a.now(), r.now()
	}
	per := func(k *Kill) string {
		return fmt.Sprintf("%s cold starts per function (%s for %s), p50 %s, p99 %s", twoDigits(k.PerFunction()), count(k.Cold), count(k.Called),
			latency(k.P50), latency(k.P99))
	}
	fmt.Fprintf(&b, "%s:\n  Roost        %s\n  round robin  %s\n", when, per(ak), per(rk))
	if s.killed {
		fmt.Fprintf(&b, "After it:\n")
		fmt.Fprintf(&b, "  Roost        %s cold starts: %s of functions that lost their home (%s of %s were called),\n", count(a.Cold-ak.Cold),
			count(ak.Restarts), count(ak.Back), count(ak.Homes))
		fmt.Fprintf(&b, "               %s of functions never called before, %s of all others;\n", count(ak.First), count(ak.Again))
		fmt.Fprintf(&b, "               %s functions of living nodes moved\n", count(ak.Moved))
		fmt.Fprintf(&b, "  round robin  %s cold starts\n", count(r.Cold-rk.Cold))
	}
	fmt.Fprintf(&b, "Failed calls: %s of %s through Roost, %s of %s through round robin.\n", count(a.Failed), count(a.Calls), count(r.Failed),
		count(r.Calls))
	if late := max(a.Late, r.Late); late > a.Calls/100 {
		fmt.Fprintf(&b, "This machine was too busy: %s calls went out more than %s late. Try --rate %.0f.\n", count(late), latency(lateAfter),
			max(s.o.Rate/4, 1))
	}
	return b.String()
}

// spark draws a number of each second as a bar of up to eight eighths; a number above zero is never drawn as none.
func spark(ns []int, top int) string {
	const eighths = " ▁▂▃▄▅▆▇█"
	var b strings.Builder
	for _, n := range ns {
		i := 0
		if top > 0 {
			i = (n*8 + top - 1) / top
		}
		b.WriteRune([]rune(eighths)[min(i, 8)])
	}
	return b.String()
}

func highest(nss ...[]int) (top int) {
	for _, ns := range nss {
		for _, n := range ns {
			top = max(top, n)
		}
	}
	return top
}

// bar draws n of a full capacity.
func bar(n, of int) string {
	full := 0
	if of > 0 {
		full = min(n*barWidth/of, barWidth)
	}
	return strings.Repeat("█", full) + strings.Repeat("░", barWidth-full) + fmt.Sprintf("%5d", n)
}

func left(text string, width int) string {
	return text + strings.Repeat(" ", max(width-utf8.RuneCountInString(text), 0))
}

func right(text string, width int) string {
	return strings.Repeat(" ", max(width-utf8.RuneCountInString(text), 0)) + text
}

// count writes 1234567 as 1,234,567.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func twoDigits(x float64) string { return fmt.Sprintf("%.2f", x) }

func latency(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms >= 99.95 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

func clock(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
