package place

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"roost"
)

func comesBack(t testing.TB, tb *roost.Table) *roost.Table {
	t.Helper()
	again, err := Decode(Encode(tb))
	if err != nil {
		t.Fatal(err)
	}
	if err := same(again, tb); err != nil {
		t.Fatal(err)
	}
	return again
}

// same compares two tables in every field.
func same(a, b *roost.Table) error {
	x, y := *a, *b
	if len(x.Voters)+len(y.Voters) == 0 {
		x.Voters, y.Voters = nil, nil
	}
	for i := range min(len(x.Pages), len(y.Pages)) {
		if !reflect.DeepEqual(x.Pages[i], y.Pages[i]) {
			return fmt.Errorf("page %d differs", i)
		}
	}
	if len(x.Pages) != len(y.Pages) {
		return fmt.Errorf("%d pages, not %d", len(x.Pages), len(y.Pages))
	}
	x.Pages, y.Pages = nil, nil
	if !reflect.DeepEqual(x, y) {
		return fmt.Errorf("got %#v\nwant %#v", x, y)
	}
	return nil
}

func names(from, to int) (out []roost.Node) {
	for i := range to - from {
		out = append(out, roost.Node{ID: roost.NodeID(fmt.Sprintf("10.0.%d.%d:8080", (from+i)/256, (from+i)%256)), Weight: roost.WeightOne})
	}
	return out
}

func follow(t testing.TB, prev *roost.Table, ns []roost.Node) *roost.Table {
	t.Helper()
	tb, err := Build(prev, Input{Pool: "p", Hash: HashFor("codec"), Policy: roost.Policy{Homes: 3, WalkFloor: 4}, Nodes: ns})
	if err != nil {
		t.Fatal(err)
	}
	return tb
}

// Histories with everything: growth over several doublings, departures, returns, weights, drains, voters, pins and other
// exceptions.
func TestEveryTableComesBackAsItWas(t *testing.T) {
	histories, steps := 6, 10
	if testing.Short() {
		histories = 2
	}
	for seed := range uint64(histories) {
		rnd := rand.New(rand.NewPCG(seed, 20))
		in := Input{Pool: "p", Hash: HashFor(fmt.Sprint(seed)), Policy: roost.Policy{Homes: uint8(1 + rnd.IntN(4)), HoldFor: 3e9, Owner: roost.Strict}}
		var prev *roost.Table
		all := names(0, 140)
		for step := range steps {
			rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			in.Nodes = slices.Clone(all[:rnd.IntN(2+step*len(all)/steps)])
			for i := range in.Nodes {
				switch rnd.IntN(60) {
				case 0:
					in.Nodes[i].Weight = uint32(1 + rnd.IntN(roost.MaxWeight))
				case 1:
					in.Nodes[i].Holds = []roost.Hold{{Kind: roost.Draining}}
				case 2:
					in.Nodes[i].Zone = "zone \xff" // any bytes
				}
			}
			in.Pins = nil
			for i := range rnd.IntN(20) {
				in.Pins = append(in.Pins, roost.PinIntent{Key: fmt.Sprint("pin", i), Homes: uint8(1 + rnd.IntN(255))})
			}
			if n := len(in.Nodes); n > 1 {
				in.Pins = append(in.Pins, roost.PinIntent{Key: "named", Nodes: []roost.NodeID{in.Nodes[n-1].ID, in.Nodes[0].ID}})
			}
			if rnd.IntN(2) == 0 {
				in.Voters = []roost.MemberID{"lb1", "", "lb2"}[:rnd.IntN(4)]
			}
			next, err := Build(prev, in)
			if err != nil {
				t.Fatal(err)
			}
			next.Epoch = roost.Epoch{Era: rnd.Uint64(), Term: rnd.Uint64N(9), Seq: rnd.Uint64(), Leader: roost.Incarnation{byte(step), 15: 7}}
			if n := len(next.Roster); n > 0 && step%3 == 0 { // as a leader adds them
				for i := range 8 {
					ex := roost.Exception{Key: roost.KeyHash(rnd.Uint64()), Cause: roost.Cause(1 + rnd.IntN(4)), Name: strings.Repeat("n", i)}
					for _, ref := range rnd.Perm(n)[:min(n, rnd.IntN(40))] {
						ex.Homes = append(ex.Homes, roost.NodeRef(ref))
					}
					p := next.Pages[next.SlotOf(ex.Key)>>roost.PageBits]
					changed := *p // the one before may share it
					changed.SetExceptions(append(slices.Clone(p.Exceptions), ex))
					next.Pages[next.SlotOf(ex.Key)>>roost.PageBits] = &changed
				}
				next.Digest = digest(next)
			}
			prev = comesBack(t, next) // history goes on from what came back
		}
	}
}

// A table that came back is built upon as the one it was made from: what is guessed does not depend on this process.
func TestHistoryGoesOnFromADecodedTable(t *testing.T) {
	a := follow(t, follow(t, nil, names(0, 60)), names(10, 70))
	b := comesBack(t, a)
	for _, ns := range [][]roost.Node{names(10, 140), names(0, 100), names(0, 150)} {
		a, b = follow(t, a, ns), follow(t, b, ns)
		if a.Digest != b.Digest {
			t.Fatalf("digest %s, want %s", b.Digest, a.Digest)
		}
	}
}

func TestThousandNodesTakeHalfAMegabyte(t *testing.T) {
	const most = 500_000
	fresh := follow(t, nil, names(0, 1000))
	if fresh.Slots() != 65_536 {
		t.Fatalf("%d slots", fresh.Slots())
	}
	sizes := map[string]int{"a first table": len(Encode(fresh))}
	if !testing.Short() { // its rows are the worst to guess: nearly all come from a slot that was split
		comesBack(t, fresh)
		grown := follow(t, nil, names(0, 40))
		for n := 60; n <= 1000; n += 20 {
			grown = follow(t, grown, names(0, n))
		}
		sizes["grown by 20"] = len(Encode(grown))
		comesBack(t, grown)
		sizes["and half of it replaced"] = len(Encode(follow(t, grown, names(500, 1500))))
	}
	for what, size := range sizes {
		t.Logf("%s: %d bytes", what, size)
		if size > most {
			t.Errorf("%s: %d bytes, at most %d", what, size, most)
		}
	}
}

func TestTooManyNodesToRankComeBackToo(t *testing.T) {
	if testing.Short() {
		t.Skip("a first table of 1,100 nodes takes half a second")
	}
	tb := follow(t, nil, names(0, 1100))
	if newGuesser(tb).ranking != nil {
		t.Fatalf("%d slots are ranked", tb.Slots())
	}
	comesBack(t, tb)
	t.Logf("1,100 nodes, %d slots, not ranked: %d bytes", tb.Slots(), len(Encode(tb)))
}

// What was written by earlier versions must be read for ever, whatever Build makes by then.
func TestStoredTablesAreReadForEver(t *testing.T) {
	for name, want := range map[string]struct{ digest, epoch, pins string }{
		"empty": {"7518fa3be9ff", roost.Epoch{}.String(), ""},
		"split": {"20a3b9ed0fef", roost.Epoch{Era: 1, Term: 2, Seq: 3, Leader: roost.Incarnation{4}}.String(), "k"}, // grown from 60 nodes to 70
	} {
		b, err := os.ReadFile(filepath.Join("testdata", "encoded", name))
		if err != nil {
			t.Fatal(err)
		}
		tb, err := Decode(b) // compares the digest, that is all of the table but its epoch
		if err != nil {
			t.Fatal(name, err)
		}
		pins := ""
		for _, p := range tb.Pages {
			for _, ex := range p.Exceptions {
				pins += ex.Name
			}
		}
		if tb.Digest.String() != want.digest || tb.Epoch.String() != want.epoch || pins != want.pins {
			t.Errorf("%s: digest %s, epoch %s, pins %q", name, tb.Digest, tb.Epoch, pins)
		}
		comesBack(t, tb)
	}
}

func TestDamageIsAnError(t *testing.T) {
	whole := Encode(follow(t, nil, names(0, 3)))
	for n := range whole {
		if _, err := Decode(whole[:n]); err == nil {
			t.Fatalf("its first %d bytes decode", n)
		}
		other := bytes.Clone(whole)
		other[n] ^= 0x10
		if _, err := Decode(other); err == nil {
			t.Fatalf("it decodes with byte %d changed", n)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"", "none, or one of a newer version"},
		{"roost table v2\x00" + strings.Repeat("x", 99), "newer version"},
		{magic + "short", "cut off"},
		{magic + strings.Repeat("x", 99), "checksum"},
	} {
		if _, err := Decode([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

// body is what decode reads.
func body(t *roost.Table) []byte {
	b := Encode(t)
	return b[len(magic) : len(b)-32]
}

// Tables that no balancer could route by are refused although every checksum is right.
func TestTablesThatCannotBeAreErrors(t *testing.T) {
	for want, change := range map[string]func(*roost.Table){
		"homes is":                  func(t *roost.Table) { t.Policy.Homes = roost.MaxHomes + 1 },
		"no home":                   func(t *roost.Table) { t.Policy.Homes = 0 },
		"owner is":                  func(t *roost.Table) { t.Policy.Owner = 9 },
		"hold time is":              func(t *roost.Table) { t.Policy.HoldFor = -1 },
		"hash algorithm is 7":       func(t *roost.Table) { t.Hash.Algo = 7 },
		"hash algorithm 0":          func(t *roost.Table) { t.Hash.Algo = 0 },
		"share is":                  func(t *roost.Table) { t.Roster[1].Share = roost.MaxWeight + 1 },
		"there twice":               func(t *roost.Table) { t.Roster[2].ID = t.Roster[1].ID },
		"has no name":               func(t *roost.Table) { t.Roster[2].ID = "" },
		"entry 0 cannot be":         func(t *roost.Table) { t.Pages[3].Rows[9][0] = 77 },
		"slot 0: entry 1 cannot be": func(t *roost.Table) { t.Pages[0].Rows[0][1] = t.Pages[0].Rows[0][0] },
		"slot 1: entry 2 cannot be": func(t *roost.Table) { t.Pages[0].Rows[1][2] = roost.NoNode },
		"slot 2: entry 0 cannot be": func(t *roost.Table) { t.Pages[0].Rows[2][0] = 3 }, // removed
		"no cause":                  func(t *roost.Table) { t.Pages[0].SetExceptions([]roost.Exception{{Key: 4}}) },
		"out of order": func(t *roost.Table) {
			t.Pages[0].SetExceptions([]roost.Exception{{Key: 4, Cause: 1}, {Key: 4, Cause: 1}})
		},
		"node 4 is unknown": func(t *roost.Table) {
			t.Pages[0].SetExceptions([]roost.Exception{{Cause: 1, Homes: []roost.NodeRef{4}}})
		},
		"node 2 is unknown or there twice": func(t *roost.Table) {
			t.Pages[0].SetExceptions([]roost.Exception{{Cause: 1, Homes: []roost.NodeRef{2, 2}}})
		},
		"cause is 5": func(t *roost.Table) { t.Pages[0].SetExceptions([]roost.Exception{{Cause: 5}}) },
	} {
		tb := follow(t, follow(t, nil, names(0, 4)), names(0, 3))
		change(tb)
		tb.Digest = digest(tb)
		if _, err := Decode(Encode(tb)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	tb := follow(t, nil, names(0, 3))
	tb.Digest[0]++
	if _, err := Decode(Encode(tb)); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("with another digest: %v", err)
	}
	if _, err := decode(append(body(tb), 0)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("with a byte more: %v", err)
	}
}

// Whatever decodes can be routed by, and comes back.
func FuzzDecode(f *testing.F) {
	f.Add(body(follow(f, follow(f, nil, names(0, 9)), names(2, 12))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Decode(b); err == nil {
			t.Fatal("what has no magic decodes")
		}
		tb, err := decode(b)
		if err != nil {
			return
		}
		for k := range roost.KeyHash(64) {
			key := k << 58
			if homes := tb.Homes(nil, key, nil); len(homes) > len(tb.Roster) {
				t.Fatalf("%d homes of %d nodes", len(homes), len(tb.Roster))
			}
			w := tb.Walk(key)
			for ref, _ := w.Next(); ref != roost.NoNode; ref, _ = w.Next() {
				if int(ref) >= len(tb.Roster) {
					t.Fatalf("node %d of %d", ref, len(tb.Roster))
				}
			}
		}
		tb.Digest = digest(tb)
		comesBack(t, tb)
	})
}

func BenchmarkCodec(b *testing.B) {
	for _, n := range []int{3, 64, 1000} {
		tb := follow(b, nil, names(0, n))
		encoded := Encode(tb)
		b.Run(fmt.Sprintf("Encode/%d", n), func(b *testing.B) {
			for b.Loop() {
				Encode(tb)
			}
			b.ReportMetric(float64(len(encoded)), "bytes")
		})
		b.Run(fmt.Sprintf("Decode/%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Decode(encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
