package carry

import (
	"errors"
	"time"
)

// Pace judges how fast a client sends a request's body, or takes an answer's. Only the time for which it was waited for
// counts: whoever is silent while nothing is asked of him (an event stream between two events, an upload that its node
// holds back) is not slow. A timeout between two pieces cannot do this: one byte within each would hold a connection, and
// what stands behind it, for ever (Slowloris' slow body; Apache's mod_reqtimeout and Kestrel's MinRequestBodyDataRate).
//
// It is a bucket of time. Waiting fills it, bytes empty it by what they may take at the least rate, and it overflows
// beyond the grace. A pause within the grace is forgiven, and a fast beginning buys no more than that.
//
// The zero Pace finds nobody slow.
type Pace struct {
	Rate  int           // bytes per second; 0: any
	Grace time.Duration // how far it may fall behind. The timeout between two pieces, or a pause that this allows would break the pace

	behind int64 // nanoseconds
	since  int64 // when the wait began; 0: nobody waits
}

// ErrTooSlow is the cause of FaultClientSlow when a Pace found it.
var ErrTooSlow = errors.New("client is slower than the least rate of bodies")

// Wait begins to wait for the client, unless that is so already. now is in Unix nanoseconds.
func (p *Pace) Wait(now int64) {
	if p.since == 0 {
		p.since = now
	}
}

// Moved ends the wait, if there is one, with n bytes that came from the client or went to it, or without any, and tells
// whether it is too slow.
func (p *Pace) Moved(n, now int64) (slow bool) {
	if p.Rate <= 0 {
		return false
	}
	if p.since != 0 {
		p.behind += max(0, now-p.since)
		p.since = 0
	}
	p.behind = int64(max(0, float64(p.behind)-float64(n)*float64(time.Second)/float64(p.Rate)))
	return p.behind > int64(p.Grace)
}
