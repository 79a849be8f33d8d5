package explain

import (
	"cmp"
	"fmt"
	"slices"

	"roost"
	"roost/internal/api"
)

// Key says where a key of a pool lives. The error is a *roost.ChangeError: there is no such pool.
func Key(snap *roost.Snapshot, pool roost.PoolID, key string) (api.Key, error) {
	p, err := find(snap, pool)
	if err != nil {
		return api.Key{}, err
	}
	t := p.Table
	key = key[:min(len(key), roost.MaxKey)] // as routes cut it
	hash := t.Hash.Sum([]byte(key))
	a := api.Key{Pool: pool, Key: key, Hash: fmt.Sprintf("%016x", uint64(hash)), Slot: t.SlotOf(hash), Epoch: t.Epoch.String()}
	if ex := t.Exception(hash); ex != nil {
		a.Exception = ex.Cause.String()
	}
	refs := t.Homes(p.Liveness, hash, nil)
	a.Homes, a.Next = names(t, refs), []roost.NodeID{}
	w := t.Walk(hash)
	for len(a.Homes)+len(a.Next) < maxCandidates {
		ref, _ := w.Next()
		if ref == roost.NoNode {
			break
		}
		if n := &t.Roster[ref]; n.Share > 0 && !n.Closed && !p.Liveness.IsDead(ref) && !slices.Contains(refs, ref) {
			refs = append(refs, ref)
			a.Next = append(a.Next, n.ID)
		}
	}
	return a, nil
}

// Table is a pool's table in short, or with the homes of every slot. The error is a *roost.ChangeError: there is no such
// pool.
func Table(snap *roost.Snapshot, pool roost.PoolID, rows bool) (api.Table, error) {
	p, err := find(snap, pool)
	if err != nil {
		return api.Table{}, err
	}
	t := p.Table
	a := api.Table{Pool: pool, Epoch: t.Epoch.String(), Digest: t.Digest.String(), Slots: t.Slots(), Homes: int(t.Policy.Homes),
		Shares: []api.Share{}, Pins: []api.Pin{}}
	if rows {
		a.Rows = make([][]roost.NodeID, t.Slots())
	}
	first := make([]int, len(t.Roster)) // slots by node
	for slot := range t.Slots() {
		row := t.Row(uint32(slot))
		if row[0] != roost.NoNode {
			first[row[0]]++
		}
		if rows {
			a.Rows[slot] = names(t, row[:t.Policy.Homes])
		}
	}
	for i := range t.Roster {
		if n := &t.Roster[i]; n.Share > 0 {
			a.Shares = append(a.Shares, api.Share{Node: n.ID, Weight: float64(n.Share) / roost.WeightOne, Slots: first[i], Closed: n.Closed})
		}
	}
	for _, page := range t.Pages {
		for i := range page.Exceptions {
			if ex := &page.Exceptions[i]; ex.Cause == roost.Pin {
				a.Pins = append(a.Pins, api.Pin{Key: ex.Name, Nodes: names(t, ex.Homes)})
			}
		}
	}
	slices.SortFunc(a.Pins, func(a, b api.Pin) int { return cmp.Compare(a.Key, b.Key) })
	return a, nil
}

func find(snap *roost.Snapshot, pool roost.PoolID) (*roost.PoolView, error) {
	for i := range snap.Pools {
		if snap.Pools[i].ID == pool {
			return &snap.Pools[i], nil
		}
	}
	return nil, &roost.ChangeError{Code: roost.CodeNoPool, Text: fmt.Sprintf("there is no pool %q", pool)}
}

// names are the ids of refs, places without a node left out.
func names(t *roost.Table, refs []roost.NodeRef) []roost.NodeID {
	ids := make([]roost.NodeID, 0, len(refs))
	for _, r := range refs {
		if r != roost.NoNode {
			ids = append(ids, t.Roster[r].ID)
		}
	}
	return ids
}
