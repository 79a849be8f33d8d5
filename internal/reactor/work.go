//go:build linux

package reactor

import (
	"time"
	"unsafe"

	"roost"
	"roost/internal/carry"
	"roost/internal/h1"
)

// work is all that one exchange needs beside its connections. Connections borrow one from the first byte of a request to the
// last of its answer.
type work struct {
	c, n  *conn // n: of the attempt that runs
	x     carry.Exchange
	s     *roost.Snapshot // until the exchange was accepted: pointers into a snapshot keep all of it
	peer  carry.Peer
	start int64 // the head's first byte, Unix nanoseconds

	limits clientLimits
	set    roost.PoolSettings // of the attempt that runs; a copy

	parser h1.Parser
	req    h1.Head
	res    h1.Head
	head   []byte // the request's head; views of it live until the exchange is finished

	upload  upload
	passing bool       // the answer's head was passed on; what comes is its body
	moved   int64      // when something of the body came last, by the monotonic clock
	gives   carry.Pace // at which the client sends the request's body
	takes   carry.Pace // and takes the answer
	over    bool       // the answer is written; what the socket did not take is in the client's out
	linger  bool       // and then the client may still be sending

	waits bool            // in its pool's line
	line  *roost.PoolLive // which one: a reload may give the pool another
	since int64           // by the monotonic clock

	path path // to the node, while it is dialled
}

// clientLimits are a listener's, copied: an exchange may outlive its snapshot.
type clientLimits struct {
	h1.Limits
	body, send time.Duration
	http2      bool
}

// borrow begins an exchange at its head's first byte.
func (l *loop) borrow(c *conn) *work {
	var k *work
	if n := len(l.works); n > 0 {
		k = l.works[n-1]
		l.works = l.works[:n-1]
	} else {
		k = &work{}
	}
	s := l.e.o.Snapshot.Load()
	set := c.settings(s)
	k.c, k.s, k.start, c.work = c, s, l.now, k
	c.fill(&k.peer)
	k.limits = clientLimits{Limits: h1.Limits{Head: set.MaxHead, Fields: set.MaxFields}, body: set.BodyTimeout, send: set.SendTimeout, http2: set.HTTP2}
	k.gives = carry.Pace{Rate: set.MinBodyRate, Grace: set.BodyTimeout}
	k.takes = carry.Pace{Rate: set.MinBodyRate, Grace: set.SendTimeout}
	k.parser.Limits = k.limits.Limits
	k.parser.Reset(h1.Request)
	c.state = reading
	l.arm(c, set.HeadTimeout)
	return k
}

// rest gives the work back.
func (l *loop) rest(k *work) {
	k.c.work = nil
	k.c, k.n, k.s, k.passing, k.over, k.linger, k.waits = nil, nil, nil, false, false, false, false
	k.path.asking = false // an exchange with a connection that rested will not ask
	k.head = kept(k.head)
	k.upload.reset(l)
	if len(l.works) < maxWorks {
		l.works = append(l.works, k)
	}
}

// maxWorks is how many works a loop keeps for later: those of as many exchanges at once as a busy loop has.
const maxWorks = 1024

func kept(b []byte) []byte {
	if cap(b) > maxKept {
		return nil
	}
	return b[:0]
}

// text is b as a string, without a copy: b must not change while the string is in use.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
