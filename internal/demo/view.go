package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// view prints states: in place on a terminal, else a line each second.
type view struct {
	out    io.Writer
	redraw bool
	paint  paint
	lines  int   // of the frame that stands on the terminal
	failed error // of the first write that failed
}

func newView(o Options) *view {
	redraw := !o.Plain && isTerminal(o.Out)
	return &view{out: o.Out, redraw: redraw, paint: paint(redraw && os.Getenv("NO_COLOR") == "")} // no-color.org
}

// isTerminal tells a terminal that can move its cursor. /dev/null passes for one, and does not mind.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// every is how often to show.
func (v *view) every() time.Duration {
	if v.redraw {
		return 100 * time.Millisecond
	}
	return time.Second
}

func (v *view) print(text string) {
	if _, err := io.WriteString(v.out, text); err != nil && v.failed == nil {
		v.failed = fmt.Errorf("print: %w", err)
	}
}

func (v *view) begin(s state) {
	if v.redraw {
		v.print("\x1b[?25l") // no cursor
		v.show(s)
		return
	}
	v.print(strings.Join(title(s, v.paint), "\n") + "\n\n" + plainHead)
}

func (v *view) show(s state) {
	if !v.redraw {
		v.print(plainLine(s))
		return
	}
	lines := frame(s, v.paint)
	var b strings.Builder
	if v.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.lines) // up to the frame's first line
	}
	for _, line := range lines {
		b.WriteString(line + "\x1b[K\n") // and nothing behind it
	}
	v.lines = len(lines)
	v.print(b.String())
}

func (v *view) kill(s state) {
	if v.redraw {
		v.show(s)
		return
	}
	v.print(fmt.Sprintf("%7s   %s is killed on both sides: its listener and its connections are closed\n", clock(s.at), nodeName(s.victim)))
}

func (v *view) end(s state) {
	if v.redraw {
		v.show(s)
		v.print("\x1b[?25h")
	}
	v.print("\n" + summary(s))
}
