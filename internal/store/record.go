package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"roost"
)

// Record is one edit as every store can hold it. Only this package knows what records mean.
type Record struct {
	Key
	Value string // a JSON object, at most MaxValue bytes
}

// Key tells records apart. Its parts are UTF-8 without NUL.
type Key struct {
	Kind string       // node, weight, hold, pin, homes
	Pool roost.PoolID // at most MaxName bytes
	Name string       // of the node; of a pin the SHA-256 of its key in hex; of homes none; at most MaxName bytes
}

func (k Key) String() string { return fmt.Sprintf("%s %q of pool %q", k.Kind, k.Name, k.Pool) }

const (
	// MaxName bounds names and pools in bytes: both together fit into the 3,072 bytes that MySQL indexes. Longer than
	// any address.
	MaxName = 512
	// MaxValue bounds values in bytes: etcd takes requests of up to 1.5 MiB.
	MaxValue = 1 << 20
)

// What the records of each kind hold. A field that a later version adds is refused by earlier ones, not lost by them.
type (
	nodeValue struct {
		Addr   string         `json:"addr"`
		Zone   string         `json:"zone,omitempty"`
		Weight uint32         `json:"weight"` // thousandths
		Host   roost.MemberID `json:"host,omitempty"`
		Sleeps bool           `json:"sleeps,omitempty"`
	}
	weightValue struct {
		Weight uint32 `json:"weight"` // thousandths
	}
	holdValue struct {
		Kind     string         `json:"kind"` // draining, down
		Cause    string         `json:"cause"`
		Wall     uint64         `json:"wall"` // this and the next two are its stamp
		Count    uint64         `json:"count,omitempty"`
		By       roost.MemberID `json:"by,omitempty"`
		Deadline time.Duration  `json:"deadline,omitempty"` // nanoseconds
	}
	pinValue struct {
		Key   string         `json:"key"`
		Nodes []roost.NodeID `json:"nodes,omitempty"`
		Homes uint8          `json:"homes,omitempty"`
	}
	homesValue struct {
		Homes uint8 `json:"homes"`
	}
)

// Encode returns edits as records, sorted; their revision is kept apart. What [Decode] could not give back is an error.
func Encode(e *roost.Edits) ([]Record, error) {
	var enc encoder
	for pool, edits := range e.Pools {
		for _, n := range edits.Nodes {
			if len(n.Sources)+len(n.Holds) > 0 {
				return nil, fmt.Errorf("encode node %q of pool %q: it has sources or holds, which are kept elsewhere", n.ID, pool)
			}
			enc.add(Key{"node", pool, string(n.ID)}, nodeValue{n.Addr, n.Zone, n.Weight, n.Host, n.Sleeps}, n.Addr, n.Zone, string(n.Host))
		}
		for id, w := range edits.Weights {
			enc.add(Key{"weight", pool, string(id)}, weightValue{w})
		}
		for id, h := range edits.Holds {
			v := holdValue{"", h.Cause, h.Since.Wall, h.Since.Count, h.Since.By, h.Deadline}
			switch h.Kind {
			case roost.Draining:
				v.Kind = "draining"
			case roost.Down:
				v.Kind = "down"
			default:
				return nil, fmt.Errorf("encode hold of node %q of pool %q: kind %d is unknown", id, pool, h.Kind)
			}
			enc.add(Key{"hold", pool, string(id)}, v, h.Cause, string(h.Since.By))
		}
		for _, p := range edits.Pins {
			texts := []string{p.Key}
			for _, id := range p.Nodes {
				texts = append(texts, string(id))
			}
			enc.add(Key{"pin", pool, pinName(p.Key)}, pinValue{p.Key, p.Nodes, p.Homes}, texts...)
		}
		if edits.Homes > 0 {
			enc.add(Key{"homes", pool, ""}, homesValue{edits.Homes})
		}
	}
	slices.SortFunc(enc.records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Name, b.Name))
	})
	for i := 1; i < len(enc.records); i++ {
		if k := enc.records[i].Key; k == enc.records[i-1].Key {
			return nil, fmt.Errorf("encode %s: it is there twice", k)
		}
	}
	return enc.records, enc.err
}

type encoder struct {
	records []Record
	err     error // the first
}

// add takes a record; texts are those in its value.
func (enc *encoder) add(k Key, value any, texts ...string) {
	text, err := json.Marshal(value)
	r := Record{k, string(text)}
	if err == nil {
		err = r.check()
	}
	for _, s := range texts {
		if err == nil && !utf8.ValidString(s) {
			err = fmt.Errorf("%q is not UTF-8", s)
		}
	}
	if err != nil && enc.err == nil {
		enc.err = fmt.Errorf("encode %s: %w", k, err)
	}
	enc.records = append(enc.records, r)
}

// check tells whether every store can hold a record.
func (r *Record) check() error {
	for _, s := range []string{string(r.Pool), r.Name} {
		switch {
		case len(s) > MaxName:
			return fmt.Errorf("its name has %d bytes, at most %d can be stored", len(s), MaxName)
		case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
			return fmt.Errorf("its name %q is not text", s)
		}
	}
	switch {
	case len(r.Value) > MaxValue:
		return fmt.Errorf("it has %d bytes, at most %d can be stored", len(r.Value), MaxValue)
	case !utf8.ValidString(r.Value):
		return errors.New("its value is not text")
	}
	return nil
}

func pinName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// Decode returns the edits that records hold, in any order. A record that this version does not know, or not all of, is
// an [*Error] of kind [Newer], a broken one of kind [Corrupt]; none is passed over. name is the store's, for errors.
func Decode(name string, rev uint64, records []Record) (*roost.Edits, error) {
	e := &roost.Edits{Rev: rev, Pools: map[roost.PoolID]roost.PoolEdits{}}
	seen := make(map[Key]bool, len(records))
	for _, r := range records {
		pool := e.Pools[r.Pool]
		kind, err := r.decode(&pool)
		if err == nil && seen[r.Key] {
			kind, err = Corrupt, errors.New("it is there twice")
		}
		if err != nil {
			return nil, &Error{kind, name, fmt.Errorf("read %s: %w", r.Key, err)}
		}
		seen[r.Key] = true
		e.Pools[r.Pool] = pool
	}
	for _, p := range e.Pools {
		slices.SortFunc(p.Nodes, func(a, b roost.Node) int { return cmp.Compare(a.ID, b.ID) })
		slices.SortFunc(p.Pins, func(a, b roost.PinIntent) int { return cmp.Compare(a.Key, b.Key) })
	}
	return e, nil
}

// decode adds what a record says to its pool's edits. The kind goes with an error.
func (r *Record) decode(p *roost.PoolEdits) (Kind, error) {
	var (
		node   nodeValue
		weight weightValue
		hold   holdValue
		pin    pinValue
		homes  homesValue
	)
	value, known := map[string]any{"node": &node, "weight": &weight, "hold": &hold, "pin": &pin, "homes": &homes}[r.Kind]
	if !known {
		return Newer, errors.New("its kind is unknown")
	}
	if err := r.check(); err != nil {
		return Corrupt, err
	}
	if kind, err := r.read(value); err != nil {
		return kind, err
	}
	id := roost.NodeID(r.Name)
	switch r.Kind {
	case "node":
		p.Nodes = append(p.Nodes, roost.Node{ID: id, Addr: node.Addr, Zone: node.Zone, Weight: node.Weight, Host: node.Host, Sleeps: node.Sleeps})
	case "weight":
		put(&p.Weights, id, weight.Weight)
	case "hold":
		h := roost.Hold{Cause: hold.Cause, Since: roost.Stamp{Wall: hold.Wall, Count: hold.Count, By: hold.By}, Deadline: hold.Deadline}
		switch hold.Kind {
		case "draining":
			h.Kind = roost.Draining
		case "down":
			h.Kind = roost.Down
		default:
			return Newer, fmt.Errorf("a hold that is %q is unknown", hold.Kind)
		}
		put(&p.Holds, id, h)
	case "pin":
		if r.Name != pinName(pin.Key) {
			return Corrupt, fmt.Errorf("its name is not that of its key %q", pin.Key)
		}
		p.Pins = append(p.Pins, roost.PinIntent{Key: pin.Key, Nodes: append([]roost.NodeID(nil), pin.Nodes...), Homes: pin.Homes})
	case "homes":
		if homes.Homes == 0 || r.Name != "" {
			return Corrupt, errors.New("its number is none, or it has a name")
		}
		p.Homes = homes.Homes
	}
	return "", nil
}

func put[V any](m *map[roost.NodeID]V, id roost.NodeID, v V) {
	if *m == nil {
		*m = map[roost.NodeID]V{}
	}
	(*m)[id] = v
}

// read reads the value into v, a pointer to one of the types above.
func (r *Record) read(v any) (Kind, error) {
	if !strings.HasPrefix(r.Value, "{") {
		return Corrupt, errors.New("its value is no object")
	}
	d := json.NewDecoder(strings.NewReader(r.Value))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "json: unknown field"): // it has no type of its own
		return Newer, err
	case err != nil:
		return Corrupt, err
	}
	if _, err := d.Token(); err != io.EOF {
		return Corrupt, errors.New("there is more than its value")
	}
	return "", nil
}

// Delta is what a save changes.
type Delta struct {
	From, To uint64   // revisions
	Gone     []Key    // to be deleted
	New      []Record // to be put, in place of those with the same key
}

// Moved is the error of a save to a store that is at another revision than prev was.
func (d *Delta) Moved(store string, at uint64) error {
	return &Error{Conflict, store, fmt.Errorf("save revision %d after %d: it is at %d", d.To, d.From, at)}
}

// Diff returns what leads from prev, nil being empty edits, to next.
func Diff(prev, next *roost.Edits) (Delta, error) {
	if prev == nil {
		prev = &roost.Edits{}
	}
	d := Delta{From: prev.Rev, To: next.Rev}
	if d.To <= d.From || d.To > 1<<63-1 { // databases count with a sign
		return d, fmt.Errorf("save revision %d after %d: it must be higher, and below 2^63", d.To, d.From)
	}
	before, err := Encode(prev)
	if err != nil {
		return d, err
	}
	after, err := Encode(next)
	if err != nil {
		return d, err
	}
	old := make(map[Key]string, len(before))
	for _, r := range before {
		old[r.Key] = r.Value
	}
	for _, r := range after {
		if v, ok := old[r.Key]; !ok || v != r.Value {
			d.New = append(d.New, r)
		}
		delete(old, r.Key)
	}
	d.Gone = slices.Collect(maps.Keys(old))
	return d, nil
}
