//go:build linux

package reactor

import "time"

// wheel holds the deadlines of a loop's connections. A record is in the slot of the time at which it must be looked at; a
// deadline that moves later stays where it is and is moved when its slot comes, so that setting one for each request costs
// a store. Times are the loop's monotonic clock.
type wheel struct {
	slots [wheelSlots]int32 // the index of the first record and 1; 0: none
	at    int64             // slots up to this one were looked through
	n     int               // records in it
}

const (
	slotBits   = 26 // 67 ms: as late as a deadline is noticed
	slotTime   = 1 << slotBits
	wheelSlots = 512 // 34 s around; what is later goes around again
)

// coarse is a time, or a duration, as precise as deadlines are, in a half of the space: in slots, for nine years. Durations are
// rounded up.
type coarse uint32

func coarsely(nanos int64) coarse { return coarse((nanos + slotTime - 1) >> slotBits) }

func (t coarse) nanos() int64 { return int64(t) << slotBits }

// arm gives c the deadline d from now; 0: none.
func (l *loop) arm(c *conn, d time.Duration) {
	if d <= 0 {
		c.deadline = 0
		return
	}
	c.deadline = l.mono + int64(d)
	if slot := c.deadline>>slotBits + 1; !c.linked || int64(c.slot) > slot {
		l.unlink(c)
		l.link(c, slot)
	}
}

func (l *loop) link(c *conn, slot int64) {
	w := &l.wheel
	slot = min(max(slot, w.at+1), w.at+wheelSlots-1)
	head := &w.slots[slot%wheelSlots]
	c.slot, c.linked, c.prev, c.next = coarse(slot), true, 0, *head
	if c.next != 0 {
		l.slab.at(c.next - 1).prev = c.index + 1
	}
	*head = c.index + 1
	w.n++
}

func (l *loop) unlink(c *conn) {
	if !c.linked {
		return
	}
	w := &l.wheel
	if c.prev != 0 {
		l.slab.at(c.prev - 1).next = c.next
	} else {
		w.slots[c.slot%wheelSlots] = c.next
	}
	if c.next != 0 {
		l.slab.at(c.next - 1).prev = c.prev
	}
	c.prev, c.next, c.linked = 0, 0, false
	w.n--
}

// expire calls expired for each record whose deadline has passed.
func (l *loop) expire() {
	w := &l.wheel
	now := l.mono >> slotBits
	if now-w.at > wheelSlots {
		w.at = now - wheelSlots // once around sees all
	}
	for w.at < now {
		w.at++
		for w.slots[w.at%wheelSlots] != 0 {
			c := l.slab.at(w.slots[w.at%wheelSlots] - 1)
			l.unlink(c)
			switch {
			case c.deadline == 0:
			case c.deadline <= l.mono:
				c.deadline = 0
				l.expired(c)
			default:
				l.link(c, c.deadline>>slotBits+1)
			}
		}
	}
}
