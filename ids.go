package roost

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
)

// NodeID names a node in the whole cluster. It is a pure function of what the operator wrote: the node's name, else its
// canonical host:port. Never made by a store and never a counter, because it feeds the rendezvous order: all balancers
// must derive the same one.
type NodeID string

type (
	PoolID      string   // a pool's name, unique in the cluster
	MemberID    string   // a member's stable name
	Incarnation [16]byte // random, new at each process start
	StoreID     [16]byte // minted inside a store by its first migration; copied by backup and restore

	// KeyHash is Hash.Sum of a key's bytes. It never meets a table whose Hash differs.
	KeyHash uint64
	// NodeRef is an index into Table.Roster. It is never reused within an Era while live counters count for it.
	NodeRef uint16
	// Digest is a SHA-256 of a canonical encoding.
	Digest [32]byte

	ListenerID uint16 // index into Snapshot.Listeners
	PoolRef    uint16 // index into Snapshot.Pools
)

// NoNode is the NodeRef of no node.
const NoNode NodeRef = 0xFFFF

// MaxNodes is how many nodes one pool's roster can hold: NodeRef is 16 bits wide and NoNode is taken.
const MaxNodes = 0xFFFF

func (d Digest) String() string      { return hex.EncodeToString(d[:6]) }
func (i Incarnation) String() string { return hex.EncodeToString(i[:4]) }

// Epoch orders tables totally; the later one wins. The zero Epoch means "computed here": never published to others.
//   - Era rises only by an operator: the way out of a poisoned Term.
//   - Term is 1 + the highest Term seen in store, gossip, disk or a refusal.
//   - Leader breaks the tie of two leaders in a split. Equal epochs with unequal digests are a bug: alarm, the lower
//     digest wins.
type Epoch struct {
	Era, Term, Seq uint64
	Leader         Incarnation
}

// Compare returns -1, 0 or +1 as e is earlier than, the same as, or later than f.
func (e Epoch) Compare(f Epoch) int {
	return cmp.Or(cmp.Compare(e.Era, f.Era), cmp.Compare(e.Term, f.Term), cmp.Compare(e.Seq, f.Seq),
		bytes.Compare(e.Leader[:], f.Leader[:]))
}

// IsZero tells a table that was computed here and never published.
func (e Epoch) IsZero() bool { return e == Epoch{} }

func (e Epoch) String() string {
	return fmt.Sprintf("%d.%d.%d-%s", e.Era, e.Term, e.Seq, e.Leader)
}
