//go:build linux

package reactor

import (
	"slices"
	"time"

	"roost"
)

// Where every node of a pool is at its hard limit, requests wait in line: each loop has its own, first come first served,
// and room that a loop makes goes to its own line or another's by chance, as the lines are long. Only full pools pay.

// lookUpEvery is how often the first in line looks for room without being told: a reload or a node that came back makes
// room without an end.
const lookUpEvery = 50 * time.Millisecond

// queue puts a request into its pool's line. It tells whether there was a place.
func (l *loop) queue(k *work) bool {
	live, set := k.x.Pool.Live, &k.x.Pool.Settings
	if int(live.Waiting.Add(1)) > set.QueueLen {
		live.Waiting.Add(-1)
		return false
	}
	k.waits, k.line, k.since = true, live, l.mono
	l.lines[live] = append(l.lines[live], k)
	l.arm(k.c, set.QueueTimeout)
	l.due(l.mono + int64(lookUpEvery))
	if len(l.lines[live]) == 1 {
		l.admitNext(live) // there may be room by now
	}
	return true
}

// unqueue takes a request out of its line.
func (l *loop) unqueue(k *work) {
	live := k.line
	line := l.lines[live]
	if i := slices.Index(line, k); i >= 0 {
		l.lines[live] = slices.Delete(line, i, i+1)
	}
	if len(l.lines[live]) == 0 {
		delete(l.lines, live)
	}
	k.waits, k.line = false, nil
	k.x.Record.Queued = l.mono - k.since
	live.Waiting.Add(-1)
	l.arm(k.c, 0)
}

// admitNext lets those first in line go for whom there is room.
func (l *loop) admitNext(live *roost.PoolLive) {
	for len(l.lines[live]) > 0 {
		k := l.lines[live][0]
		x := &k.x
		x.Refresh(l.e.o.Snapshot.Load())
		if l.foreign(x) { // since a reload
			l.unqueue(k)
			l.passWork(k)
			continue
		}
		refused := x.Choose(l.random(), l.now)
		if refused == roost.RefusedFull {
			l.due(l.mono + int64(lookUpEvery))
			return
		}
		l.unqueue(k)
		l.admitted(k, refused)
	}
}

func (l *loop) admitted(k *work, refused roost.Refusal) {
	defer l.survive(k.c)
	if refused != roost.NotRefused {
		l.fail(k, k.x.Refused(refused))
		return
	}
	l.reach(k, l.ahead(k.c))
}

// room says that an attempt at a pool where requests wait has ended.
func (l *loop) room(live *roost.PoolLive) {
	mine, all := int64(len(l.lines[live])), live.Waiting.Load()
	if mine >= all || mine > 0 && int64(l.random()%uint64(all)) < mine {
		l.admitNext(live)
		return
	}
	for _, o := range l.e.loops {
		if o != l {
			o.post(func(l *loop) { l.admitNext(live) })
		}
	}
}
