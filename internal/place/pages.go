package place

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"

	"roost"
)

// pages cuts the rows into pages.
func (d *draft) pages() []*roost.Page {
	pages := make([]*roost.Page, 0, len(d.rows)/roost.PageSlots)
	for rows := range slices.Chunk(d.rows, roost.PageSlots) {
		pages = append(pages, &roost.Page{Rows: [roost.PageSlots]roost.Row(rows)})
	}
	return pages
}

// except puts the exceptions into their pages: one for each pin, and those of other causes from the table before, where
// no pin is in their way and the keys' hashes still mean the same.
func except(t, prev *roost.Table, pins []roost.PinIntent) error {
	placed := map[roost.KeyHash]roost.Exception{}
	if prev != nil && prev.Hash == t.Hash {
		for _, p := range prev.Pages {
			for _, ex := range p.Exceptions {
				if ex.Cause != roost.Pin {
					placed[ex.Key] = ex
				}
			}
		}
	}
	refs := map[roost.NodeID]roost.NodeRef{}
	for ref, n := range t.Roster {
		refs[n.ID] = roost.NodeRef(ref)
	}
	for _, pin := range pins {
		ex, err := pinned(t, refs, pin)
		if err != nil {
			return fmt.Errorf("pin %q: %w", pin.Key, err)
		}
		if other := placed[ex.Key]; other.Cause == roost.Pin {
			return fmt.Errorf("pin %q: there is one for it already (%q)", pin.Key, other.Name)
		}
		placed[ex.Key] = ex
	}
	byPage := map[*roost.Page][]roost.Exception{}
	for _, ex := range placed {
		p := t.Pages[t.SlotOf(ex.Key)>>roost.PageBits]
		byPage[p] = append(byPage[p], ex)
	}
	for p, list := range byPage {
		p.SetExceptions(list)
	}
	return nil
}

// pinned makes a pin's exception. A node that is in the roster without a share may be named: the pin outlives its
// absence.
func pinned(t *roost.Table, refs map[roost.NodeID]roost.NodeRef, pin roost.PinIntent) (roost.Exception, error) {
	key := t.Hash.Sum([]byte(pin.Key))
	ex := roost.Exception{Key: key, Cause: roost.Pin, Name: pin.Key}
	switch {
	case pin.Key == "":
		return ex, fmt.Errorf("it has no key")
	case len(pin.Nodes) > 0 && pin.Homes > 0:
		return ex, fmt.Errorf("it has both nodes and a number of homes: give one")
	case len(pin.Nodes) == 0 && pin.Homes == 0:
		return ex, fmt.Errorf("it has neither nodes nor a number of homes: give one")
	}
	for _, id := range pin.Nodes {
		ref, ok := refs[id]
		if !ok {
			return ex, fmt.Errorf("the pool has no node %q", id)
		}
		if slices.Contains(ex.Homes, ref) {
			return ex, fmt.Errorf("it names node %q twice", id)
		}
		ex.Homes = append(ex.Homes, ref)
	}
	if pin.Homes > 0 {
		ex.Homes = along(t, key, int(pin.Homes))
	}
	return ex, nil
}

// along is the first n nodes of a key's own order, or all when there are fewer. t has no exceptions yet.
func along(t *roost.Table, key roost.KeyHash, n int) []roost.NodeRef {
	var homes []roost.NodeRef
	w := t.Walk(key)
	for len(homes) < n {
		ref, _ := w.Next()
		if ref == roost.NoNode {
			break
		}
		if t.Roster[ref].Share > 0 && !slices.Contains(homes, ref) {
			homes = append(homes, ref)
		}
	}
	return homes
}

// share takes over pages of the table before that are the same, so that tables in use together cost little memory.
func share(t, prev *roost.Table) {
	if prev == nil || prev.SlotBits != t.SlotBits {
		return
	}
	same := func(a, b roost.Exception) bool {
		return a.Key == b.Key && a.Cause == b.Cause && a.Name == b.Name && slices.Equal(a.Homes, b.Homes)
	}
	for i, p := range t.Pages {
		if old := prev.Pages[i]; p.Rows == old.Rows && slices.EqualFunc(p.Exceptions, old.Exceptions, same) {
			t.Pages[i] = old
		}
	}
}

// digest is the SHA-256 of all of a table but its epoch: numbers big-endian, texts and lists after their length.
func digest(t *roost.Table) (sum roost.Digest) {
	e := encoder{sum: sha256.New()}
	e.text("roost table v1")
	e.text(string(t.Pool))
	e.num(uint64(t.Hash.Algo))
	e.text(string(t.Hash.Key[:]))
	e.num(uint64(t.Policy.Homes))
	e.num(uint64(t.Policy.Owner))
	e.num(uint64(t.Policy.HoldFor))
	e.num(uint64(t.Policy.WalkFloor))
	e.num(uint64(len(t.Voters)))
	for _, v := range t.Voters {
		e.text(string(v))
	}
	e.num(uint64(len(t.Roster)))
	for _, n := range t.Roster {
		e.text(string(n.ID))
		e.num(uint64(n.Share))
		e.flag(n.Closed)
		e.text(n.Zone)
	}
	e.num(uint64(t.SlotBits))
	for _, p := range t.Pages {
		for i := range p.Rows {
			e.refs(p.Rows[i][:])
		}
		e.num(uint64(len(p.Exceptions)))
		for _, ex := range p.Exceptions {
			e.num(uint64(ex.Key))
			e.num(uint64(ex.Cause))
			e.text(ex.Name)
			e.num(uint64(len(ex.Homes)))
			e.refs(ex.Homes)
		}
	}
	e.flush()
	e.sum.Sum(sum[:0])
	return sum
}

type encoder struct {
	sum hash.Hash
	buf []byte // not yet hashed
}

func (e *encoder) num(v uint64) { e.buf = binary.BigEndian.AppendUint64(e.buf, v) }

func (e *encoder) flag(v bool) {
	if v {
		e.num(1)
	} else {
		e.num(0)
	}
}

func (e *encoder) text(s string) {
	e.num(uint64(len(s)))
	e.buf = append(e.buf, s...)
}

// refs gives no length: callers do, where it is not fixed.
func (e *encoder) refs(refs []roost.NodeRef) {
	if len(e.buf) >= 1<<12 {
		e.flush()
	}
	for _, r := range refs {
		e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(r))
	}
}

func (e *encoder) flush() {
	e.sum.Write(e.buf)
	e.buf = e.buf[:0]
}
