package place

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"time"

	"roost"
)

// An encoded table is, in this order: magic; the fields of the table, its digest among them; its exceptions; the row
// entries that could not be guessed, in whole bytes; all row entries as guesses, deflated; the SHA-256 of all that.
// Numbers are unsigned varints, texts follow their length.
//
// Rows are nearly all of a table, and most can be computed: nodes stand in them by rank. What a slot's row holds is thus
// guessed, and an entry is one byte, its place among the guesses that are left, mostly 0. Only what history left behind
// in slots that were split costs more.
const (
	magic = "roost table v1\x00"
	// maxRanked is how many nodes times slots are ranked to guess rows: 1,024 nodes in 65,536 slots, a quarter of a
	// second for Encode and for Decode, three of them when weights differ. The rows of larger tables are written as they
	// are.
	maxRanked = 1 << 26
	// explicit stands for an entry that no guess has.
	explicit = 2 * roost.RowLen
)

// Encode returns a table as bytes, for a store or another balancer. What Build makes comes back from [Decode] as it was;
// Stride is not written, it follows from the roster's length.
func Encode(t *roost.Table) []byte {
	b := append([]byte(nil), magic...)
	b = append(b, t.Digest[:]...)
	num := func(v uint64) { b = binary.AppendUvarint(b, v) }
	text := func(s string) { num(uint64(len(s))); b = append(b, s...) }
	text(string(t.Pool))
	num(t.Epoch.Era)
	num(t.Epoch.Term)
	num(t.Epoch.Seq)
	b = append(b, t.Epoch.Leader[:]...)
	num(uint64(t.Hash.Algo))
	b = append(b, t.Hash.Key[:]...)
	num(uint64(t.Policy.Homes))
	num(uint64(t.Policy.Owner))
	num(uint64(t.Policy.HoldFor))
	num(uint64(t.Policy.WalkFloor))
	num(uint64(len(t.Voters)))
	for _, v := range t.Voters {
		text(string(v))
	}
	num(uint64(len(t.Roster)))
	for _, n := range t.Roster {
		text(string(n.ID))
		share := uint64(n.Share) << 1
		if n.Closed {
			share |= 1
		}
		num(share)
		text(n.Zone)
	}
	num(uint64(t.SlotBits))

	exceptions := 0
	for _, p := range t.Pages {
		exceptions += len(p.Exceptions)
	}
	num(uint64(exceptions))
	for _, p := range t.Pages {
		for _, ex := range p.Exceptions {
			b = binary.BigEndian.AppendUint64(b, uint64(ex.Key))
			num(uint64(ex.Cause))
			text(ex.Name)
			num(uint64(len(ex.Homes)))
			for _, ref := range ex.Homes {
				num(uint64(ref))
			}
		}
	}

	refs, guesses := encodeRows(t)
	num(uint64(len(refs)))
	b = append(b, refs...)
	b = append(b, guesses...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func encodeRows(t *roost.Table) (refs, guesses []byte) {
	var out bytes.Buffer
	deflate, err := flate.NewWriter(&out, flate.DefaultCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	g := newGuesser(t)
	var packed bitWriter
	var page []byte
	for slot := range uint32(t.Slots()) {
		list := g.row(slot)
		for _, ref := range t.Row(slot)[:g.rowLen] {
			at := slices.Index(list, ref)
			if at < 0 {
				page = append(page, explicit)
				packed.put(min(uint64(ref), uint64(len(t.Roster))), g.refBits)
				continue
			}
			page = append(page, byte(at))
			list = slices.Delete(list, at, at+1)
		}
		if slot%roost.PageSlots == roost.PageSlots-1 {
			deflate.Write(page) // a bytes.Buffer takes all
			page = page[:0]
		}
	}
	deflate.Close()
	return packed.bytes(), out.Bytes()
}

// guesser says which nodes a slot's row likely holds, from what comes before the row in an encoded table.
type guesser struct {
	t       *roost.Table
	ranking *ranking // nil: of too many nodes in too many slots
	rowLen  int      // entries of a row that hold a node: all have as many
	refBits int      // of an explicit NodeRef
	list    []roost.NodeRef
}

func newGuesser(t *roost.Table) *guesser {
	k := newRanking(t)
	g := &guesser{t: t, rowLen: min(len(k.nodes), roost.RowLen), refBits: bits.Len(uint(len(t.Roster)))}
	if uint64(len(k.nodes))<<t.SlotBits <= maxRanked {
		g.ranking = &k
	}
	return g
}

// row returns the guesses for a row, the likeliest first: the slot's best nodes, then those of the slot that it was last
// split from. The caller may change the slice and must not keep it.
func (g *guesser) row(slot uint32) []roost.NodeRef {
	var best [roost.RowLen]roost.NodeRef
	n := 0
	if g.ranking != nil {
		n = g.ranking.best(slot, best[:], none)
	}
	g.list = append(g.list[:0], best[:n]...)
	if slot > 0 {
		for _, ref := range g.t.Row(slot & (slot - 1))[:g.rowLen] {
			if !slices.Contains(best[:n], ref) {
				g.list = append(g.list, ref)
			}
		}
	}
	return g.list
}

// Decode returns the table that Encode was given. It takes any bytes: what is damaged, of another version, or no table
// that could be routed by, is an error. It uses memory for 64 MiB of rows at most, beside a small multiple of len(b),
// and time for ranking maxRanked nodes.
func Decode(b []byte) (*roost.Table, error) {
	body, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok {
		return nil, errors.New("decode table: it is none, or one of a newer version")
	}
	if len(body) < sha256.Size {
		return nil, errors.New("decode table: it is cut off")
	}
	end := len(b) - sha256.Size
	if sum := sha256.Sum256(b[:end]); !bytes.Equal(sum[:], b[end:]) {
		return nil, errors.New("decode table: it is damaged: its checksum is wrong")
	}
	t, err := decode(body[:len(body)-sha256.Size])
	if err != nil {
		return nil, fmt.Errorf("decode table: %w", err)
	}
	if sum := digest(t); sum != t.Digest {
		return nil, fmt.Errorf("decode table: it has digest %s and says %s: who wrote it places keys by other rules", sum, t.Digest)
	}
	return t, nil
}

// decode reads what stands between magic and checksum. The digest is as written.
func decode(body []byte) (*roost.Table, error) {
	d := decoder{b: body}
	t := &roost.Table{}
	d.copy(t.Digest[:])
	t.Pool = roost.PoolID(d.text())
	t.Epoch = roost.Epoch{Era: d.num(), Term: d.num(), Seq: d.num()}
	d.copy(t.Epoch.Leader[:])
	t.Hash.Algo = roost.HashAlgo(d.upTo("hash algorithm", uint64(roost.SipHash13)))
	d.copy(t.Hash.Key[:])
	t.Policy = roost.Policy{
		Homes:     uint8(d.upTo("homes", roost.MaxHomes)),
		Owner:     roost.Ownership(d.upTo("owner", uint64(roost.Strict))),
		HoldFor:   time.Duration(d.upTo("hold time", 1<<63-1)),
		WalkFloor: uint32(d.upTo("walk floor", 1<<32-1)),
	}
	for range d.count("voters") {
		t.Voters = append(t.Voters, roost.MemberID(d.text()))
	}
	known := map[roost.NodeID]bool{}
	for range d.count("nodes") {
		n := roost.RosterNode{ID: roost.NodeID(d.text())}
		share := d.upTo("share", roost.MaxWeight<<1|1)
		n.Share, n.Closed, n.Zone = uint32(share>>1), share&1 == 1, d.text()
		if n.ID == "" || known[n.ID] {
			d.fail("node %q has no name or is there twice", n.ID)
		}
		known[n.ID] = true
		t.Roster = append(t.Roster, n)
	}
	t.SlotBits = uint8(d.upTo("slot bits", roost.MaxSlotBits))
	switch {
	case d.err != nil:
	case len(t.Roster) > roost.MaxNodes:
		d.fail("%d nodes, at most %d can be", len(t.Roster), roost.MaxNodes)
	case t.Hash.Algo != roost.SipHash13:
		d.fail("hash algorithm %d is unknown", t.Hash.Algo)
	case t.Policy.Homes == 0:
		d.fail("keys have no home")
	case t.SlotBits < roost.MinSlotBits:
		d.fail("%d slot bits, %d is the least", t.SlotBits, roost.MinSlotBits)
	}
	exceptions := d.exceptions(len(t.Roster))
	refs := d.take(d.num())
	if d.err == nil {
		d.err = decodeRows(t, refs, d.b)
	}
	if d.err != nil {
		return nil, d.err
	}
	for len(exceptions) > 0 { // they are sorted, and so are pages
		page := t.SlotOf(exceptions[0].Key) >> roost.PageBits
		n := slices.IndexFunc(exceptions, func(ex roost.Exception) bool { return t.SlotOf(ex.Key)>>roost.PageBits != page })
		if n < 0 {
			n = len(exceptions)
		}
		t.Pages[page].SetExceptions(exceptions[:n:n])
		exceptions = exceptions[n:]
	}
	t.Stride = strides(len(t.Roster))
	return t, nil
}

func decodeRows(t *roost.Table, refs, guesses []byte) error {
	g := newGuesser(t)
	packed := bitReader{b: refs}
	rest := bytes.NewReader(guesses)
	inflate := flate.NewReader(rest)
	places := make([]byte, roost.PageSlots*g.rowLen)
	for slot := range uint32(t.Slots()) {
		if slot%roost.PageSlots == 0 {
			if _, err := io.ReadFull(inflate, places); err != nil {
				return fmt.Errorf("rows from slot %d: %w", slot, err)
			}
			t.Pages = append(t.Pages, new(roost.Page))
		}
		row := t.Row(slot)
		*row = emptyRow()
		list := g.row(slot)
		for i, at := range places[int(slot%roost.PageSlots)*g.rowLen:][:g.rowLen] {
			switch {
			case int(at) < len(list):
				row[i] = list[at]
				list = slices.Delete(list, int(at), int(at)+1)
			case at == explicit:
				ref, ok := packed.take(g.refBits)
				if !ok || ref >= uint64(len(t.Roster)) || slices.Contains(row[:i], roost.NodeRef(ref)) || t.Roster[ref].Share == 0 {
					return fmt.Errorf("row of slot %d: entry %d cannot be", slot, i)
				}
				row[i] = roost.NodeRef(ref)
			default:
				return fmt.Errorf("row of slot %d: entry %d is guess %d of %d", slot, i, at, len(list))
			}
		}
	}
	if n, err := inflate.Read(make([]byte, 1)); n > 0 || err != io.EOF || rest.Len() > 0 || !packed.empty() {
		return errors.New("there is more than its rows need")
	}
	return nil
}

// decoder takes an encoding apart. After the first failure it yields zeros.
type decoder struct {
	b   []byte
	err error // the first
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
		d.b = nil
	}
}

func (d *decoder) num() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("it is cut off")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) upTo(what string, most uint64) uint64 {
	v := d.num()
	if v > most {
		d.fail("%s is %d, at most %d is known", what, v, most)
		return 0
	}
	return v
}

// count is the length of a list, each entry of which takes a byte at least.
func (d *decoder) count(what string) int {
	return int(d.upTo("number of "+what, uint64(len(d.b))))
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail("it is cut off")
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) text() string { return string(d.take(d.num())) }

func (d *decoder) copy(dst []byte) { copy(dst, d.take(uint64(len(dst)))) }

// exceptions are sorted by key, and no key has two.
func (d *decoder) exceptions(nodes int) (out []roost.Exception) {
	last := make([]int, nodes) // by NodeRef: the exception that named it last, from 1
	for i := range d.count("exceptions") {
		var key [8]byte
		d.copy(key[:])
		ex := roost.Exception{Key: roost.KeyHash(binary.BigEndian.Uint64(key[:]))}
		ex.Cause = roost.Cause(d.upTo("cause", uint64(roost.Quarantined)))
		ex.Name = d.text()
		for range d.count("homes") {
			ref := roost.NodeRef(d.upTo("home", roost.MaxNodes))
			if int(ref) >= nodes || last[ref] == i+1 {
				d.fail("exception %d: node %d is unknown or there twice", i, ref)
				return nil
			}
			last[ref] = i + 1
			ex.Homes = append(ex.Homes, ref)
		}
		if ex.Cause == 0 || i > 0 && ex.Key <= out[i-1].Key {
			d.fail("exception %d has no cause or is out of order", i)
			return nil
		}
		out = append(out, ex)
	}
	return out
}

// bitWriter packs numbers, the first bit highest.
type bitWriter struct {
	b    []byte
	word uint64 // bits not yet in b, at the low end
	n    int    // how many
}

func (w *bitWriter) put(v uint64, width int) {
	w.word = w.word<<width | v
	for w.n += width; w.n >= 8; w.n -= 8 {
		w.b = append(w.b, byte(w.word>>(w.n-8)))
	}
}

func (w *bitWriter) bytes() []byte {
	if w.n > 0 {
		w.put(0, 8-w.n)
	}
	return w.b
}

// bitReader unpacks what bitWriter packed.
type bitReader struct {
	b    []byte
	word uint64
	n    int
}

func (r *bitReader) take(width int) (v uint64, ok bool) {
	for ; r.n < width; r.n += 8 {
		if len(r.b) == 0 {
			return 0, false
		}
		r.word, r.b = r.word<<8|uint64(r.b[0]), r.b[1:]
	}
	r.n -= width
	return r.word >> r.n & (1<<width - 1), true
}

// empty tells that only the bits that fill the last byte are left, and that they are zero.
func (r *bitReader) empty() bool { return len(r.b) == 0 && r.n < 8 && r.word&(1<<r.n-1) == 0 }
