package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"roost"
)

// Record is one edit as every store can hold it: Kind, Pool and Name are its key, Value is a JSON object. All are UTF-8
// without NUL. Only this package knows what records mean.
type Record struct {
	Kind  string // node, weight, hold, pin, homes
	Pool  roost.PoolID
	Name  string // of the node; of a pin the SHA-256 of its key in hex; of homes nothing
	Value string
}

const (
	// MaxName bounds Record.Name and Record.Pool in bytes: keys of both fit into the 3,072 bytes that MySQL indexes.
	MaxName = 512
	// MaxValue bounds Record.Value in bytes: etcd takes requests of up to 1.5 MiB.
	MaxValue = 1 << 20
)

// What records of each kind hold in Value. A field that is added here is refused by older versions, never lost by them.
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
		Wall     uint64         `json:"wall"` // these three are its stamp
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

// Encode returns edits as records, sorted, without their revision. It fails on what [Decode] could not give back.
func Encode(e *roost.Edits) ([]Record, error) {
	var enc encoder
	for pool, edits := range e.Pools {
		for _, n := range edits.Nodes {
			if len(n.Sources) > 0 || len(n.Holds) > 0 {
				return nil, fmt.Errorf("encode node %q of pool %q: sources and holds are not its own", n.ID, pool)
			}
			enc.add("node", pool, string(n.ID), nodeValue{n.Addr, n.Zone, n.Weight, n.Host, n.Sleeps})
		}
		for id, w := range edits.Weights {
			enc.add("weight", pool, string(id), weightValue{w})
		}
		for id, h := range edits.Holds {
			kind, ok := map[roost.HoldKind]string{roost.Draining: "draining", roost.Down: "down"}[h.Kind]
			if !ok {
				return nil, fmt.Errorf("encode hold of node %q of pool %q: kind %d is unknown", id, pool, h.Kind)
			}
			enc.add("hold", pool, string(id), holdValue{kind, h.Cause, h.Since.Wall, h.Since.Count, h.Since.By, h.Deadline})
		}
		for _, p := range edits.Pins {
			enc.add("pin", pool, pinName(p.Key), pinValue{p.Key, p.Nodes, p.Homes})
		}
		if edits.Homes > 0 {
			enc.add("homes", pool, "", homesValue{edits.Homes})
		}
	}
	slices.SortFunc(enc.records, compare)
	for i := 1; i < len(enc.records) && enc.err == nil; i++ {
		if r := enc.records[i]; r.key() == enc.records[i-1].key() {
			enc.err = fmt.Errorf("encode %s: it is there twice", r)
		}
	}
	return enc.records, enc.err
}

type encoder struct {
	records []Record
	err     error // the first
}

func (enc *encoder) add(kind string, pool roost.PoolID, name string, value any) {
	text, err := json.Marshal(value)
	r := Record{kind, pool, name, string(text)}
	switch {
	case enc.err != nil:
		return
	case err != nil:
	case bytes.Contains(text, []byte(`\ufffd`)): // what is not UTF-8 would not come back
		err = fmt.Errorf("a text in it is not UTF-8")
	default:
		err = r.check()
	}
	if err != nil {
		enc.err = fmt.Errorf("encode %s: %w", r, err)
		return
	}
	enc.records = append(enc.records, r)
}

// Decode returns the edits that records hold, in any order. A record that this version does not understand in full is
// an error of kind Newer, one that is broken of kind Corrupt; none is passed over.
func Decode(rev uint64, records []Record) (*roost.Edits, error) {
	e := &roost.Edits{Rev: rev, Pools: map[roost.PoolID]roost.PoolEdits{}}
	seen := map[Record]bool{}
	for _, r := range records {
		err := r.check()
		if err == nil && seen[r.key()] {
			err = broken(fmt.Errorf("it is there twice"))
		}
		seen[r.key()] = true
		if err == nil {
			pool := e.Pools[r.Pool]
			err = r.decode(&pool)
			e.Pools[r.Pool] = pool
		}
		if err != nil {
			return nil, fmt.Errorf("decode %s: %w", r, err)
		}
	}
	for _, p := range e.Pools {
		slices.SortFunc(p.Nodes, func(a, b roost.Node) int { return cmp.Compare(a.ID, b.ID) })
		slices.SortFunc(p.Pins, func(a, b roost.PinIntent) int { return cmp.Compare(a.Key, b.Key) })
	}
	return e, nil
}

func broken(err error) error { return err }

func (r *Record) decode(p *roost.PoolEdits) error { return nil }

func pinName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func (r Record) String() string { return fmt.Sprintf("%s %q of pool %q", r.Kind, r.Name, r.Pool) }

func (r Record) key() Record { return Record{Kind: r.Kind, Pool: r.Pool, Name: r.Name} }

func (r *Record) check() error {
	for _, s := range []string{string(r.Pool), r.Name, r.Value} {
		if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

func compare(a, b Record) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Name, b.Name))
}

// Delta is what a save changes.
type Delta struct {
	From, To uint64   // revisions
	Gone     []Record // to be deleted, by their keys
	New      []Record // to be put, in place of those with the same keys
}

// Diff returns what leads from prev to next.
func Diff(prev, next *roost.Edits) (Delta, error) { return Delta{}, nil }
