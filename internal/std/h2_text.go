package std

import (
	"strconv"
	"strings"
)

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }

// oneLine tells whether s may stand in a line of a head.
func oneLine(s string) bool {
	return strings.IndexByte(s, '\r') < 0 && strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, 0) < 0
}

// isName tells whether s may stand before a colon; what a name is h1 knows.
func isName(s string) bool { return s != "" && strings.IndexByte(s, ':') < 0 && oneLine(s) }
