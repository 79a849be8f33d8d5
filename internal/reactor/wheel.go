//go:build linux

package reactor

import "time"

// wheel holds the deadlines of a loop's connections. A record is in the slot of the time at which it must be looked at; a
// deadline that moves later stays where it is and is moved when its slot comes, so that setting one for each request costs
// a store. Times are the loop's monotonic clock.
type wheel struct {
	slots [wheelSlots]*conn
	at    int64 // slots up to this one were looked through
	n     int   // records in it
}

const (
	slotBits   = 26 // 67 ms: as late as a deadline is noticed
	slotTime   = 1 << slotBits
	wheelSlots = 512 // 34 s around; what is later goes around again
)

// arm gives c the deadline d from now; 0: none.
func (l *loop) arm(c *conn, d time.Duration) {
	if d <= 0 {
		c.deadline = 0
		return
	}
	c.deadline = l.mono + int64(d)
	if slot := c.deadline>>slotBits + 1; !c.linked || c.slot > slot {
		l.wheel.remove(c)
		l.wheel.add(c, slot)
	}
}

func (w *wheel) add(c *conn, slot int64) {
	slot = min(max(slot, w.at+1), w.at+wheelSlots-1)
	head := &w.slots[slot%wheelSlots]
	c.slot, c.linked, c.prev, c.next = slot, true, nil, *head
	if c.next != nil {
		c.next.prev = c
	}
	*head = c
	w.n++
}

func (w *wheel) remove(c *conn) {
	if !c.linked {
		return
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		w.slots[c.slot%wheelSlots] = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next, c.linked = nil, nil, false
	w.n--
}

// turn calls expired for each record whose deadline has passed.
func (l *loop) expire() {
	w := &l.wheel
	now := l.mono >> slotBits
	if now-w.at > wheelSlots {
		w.at = now - wheelSlots // once around sees all
	}
	for w.at < now {
		w.at++
		for c := w.slots[w.at%wheelSlots]; c != nil; c = w.slots[w.at%wheelSlots] {
			w.remove(c)
			switch {
			case c.deadline == 0:
			case c.deadline <= l.mono:
				c.deadline = 0
				l.expired(c)
			default:
				w.add(c, c.deadline>>slotBits+1)
			}
		}
	}
}
