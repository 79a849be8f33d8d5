package fnlb

import (
	"slices"
	"time"
)

// guard keeps a table that suddenly lists less than half of its nodes from emptying a pool at once: a restored backup, or
// a script that deletes and inserts, is seen again some seconds later. The table has no revision that could tell.
type guard struct {
	held  []string // rows that passed last
	doubt []string // rows that did not pass
	since time.Time
}

// secondLook is how long a table that shrank must stay as it is.
const secondLook = 5 * time.Second

// pass tells whether rows are to be used. asked: one of them was added or deleted here, and nobody doubts that.
func (g *guard) pass(now time.Time, rows []string, asked bool) bool {
	ours := asked && len(rows)+1 >= len(g.held)
	if 2*len(rows) < len(g.held) && !ours {
		if !slices.Equal(rows, g.doubt) || g.since.IsZero() {
			g.doubt, g.since = rows, now
			return false
		}
		if now.Sub(g.since) < secondLook {
			return false
		}
	}
	*g = guard{held: rows}
	return true
}
