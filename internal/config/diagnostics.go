package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"roost"
)

// Severity tells what keeps a configuration from being used from what is only worth a look.
type Severity string

const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Diagnostic is one thing that is wrong, and where.
type Diagnostic struct {
	Severity Severity `json:"severity"`
	Code     Code     `json:"code"`
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitempty"` // from 1; 0: the whole file, or a flag
	Col      int      `json:"col,omitempty"`  // from 1, in characters; of a flag: in its value
	Path     string   `json:"path,omitempty"` // the setting, as in pools.fn.nodes[0], or the flag
	Message  string   `json:"message"`
	Fix      string   `json:"fix,omitempty"` // what to do about it

	excerpt string // the line, or the flag's value
}

// Diagnostics are all that was found, in the order of the text.
type Diagnostics []Diagnostic

// maxDiagnostics bounds the list: whoever has a hundred errors starts with the first.
const maxDiagnostics = 100

// Failed reports whether there is an error among them.
func (ds Diagnostics) Failed() bool { return ds.count(Error) > 0 }

// Mistakes gives them to those who know nothing of this package.
func (ds Diagnostics) Mistakes() (errors, warnings []roost.Mistake) {
	for i := range ds {
		g := &ds[i]
		m := roost.Mistake{File: g.File, Line: g.Line, Column: g.Col, Path: g.Path, Code: string(g.Code), Message: g.Message, Fix: g.Fix}
		if g.Severity == Error {
			errors = append(errors, m)
		} else {
			warnings = append(warnings, m)
		}
	}
	return errors, warnings
}

func (ds Diagnostics) count(s Severity) int {
	n := 0
	for i := range ds {
		if ds[i].Severity == s {
			n++
		}
	}
	return n
}

// JSON writes them for programs.
func (ds Diagnostics) JSON(w io.Writer) error {
	if ds == nil {
		ds = Diagnostics{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Errors      int         `json:"errors"`
		Warnings    int         `json:"warnings"`
		Diagnostics Diagnostics `json:"diagnostics"`
	}{ds.count(Error), ds.count(Warning), ds})
}

// Text writes them for people, each with its line and a caret, and a last line that sums up. It writes nothing when
// there are none.
func (ds Diagnostics) Text(w io.Writer) error {
	if len(ds) == 0 {
		return nil
	}
	var b bytes.Buffer
	for i := range ds {
		ds[i].text(&b)
	}
	var sums []string
	if n := ds.count(Error); n > 0 {
		sums = append(sums, plural(n, "error"))
	}
	if n := ds.count(Warning); n > 0 {
		sums = append(sums, plural(n, "warning"))
	}
	b.WriteString(strings.Join(sums, ", "))
	if ds.Failed() {
		b.WriteString("; nothing was changed")
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func (g *Diagnostic) text(b *bytes.Buffer) {
	if g.File != "" {
		b.WriteString(printable(g.File))
		if g.Line > 0 {
			fmt.Fprintf(b, ":%d:%d", g.Line, g.Col)
		}
		b.WriteString(": ")
	}
	if g.Severity == Warning {
		b.WriteString("warning: ")
	}
	if g.Path != "" {
		b.WriteString(printable(g.Path) + ": ")
	}
	b.WriteString(printable(g.Message))
	if g.Fix != "" {
		b.WriteString("; " + printable(g.Fix))
	}
	b.WriteByte('\n')
	if g.excerpt == "" {
		return
	}
	shown, caret := window(g.excerpt, g.Col-1)
	gutter := "  "
	if g.Line > 0 {
		number := fmt.Sprint(g.Line)
		fmt.Fprintf(b, "  %s | %s\n", number, shown)
		gutter = strings.Repeat(" ", len(number)+2) + " | "
	} else {
		b.WriteString(gutter + shown + "\n")
	}
	b.WriteString(gutter + strings.Repeat(" ", caret) + "^\n")
}

// shownBefore and shownAfter are how many characters of a long line are shown around its caret.
const shownBefore, shownAfter = 60, 60

// printable replaces what a terminal would obey: names and values are the author's of the file, not the reader's.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// window makes a line fit to be shown: one column for each character, and of a long line the part around col.
func window(line string, col int) (shown string, caret int) {
	runes := []rune(printable(line))
	col = min(max(col, 0), len(runes))
	from, to := 0, len(runes)
	if to-col > shownAfter {
		to = col + shownAfter
	}
	if col > shownBefore {
		from = col - shownBefore
	}
	shown, caret = string(runes[from:to]), col-from
	if from > 0 {
		shown, caret = "..."+shown, caret+3
	}
	if to < len(runes) {
		shown += "..."
	}
	return shown, caret
}

// sorted orders by place, keeping the order in which things of one place, and those of flags, were found.
func (ds Diagnostics) sorted() Diagnostics {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		if a.Line == 0 && b.Line == 0 {
			return 0
		}
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return ds
}
