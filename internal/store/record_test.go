package store

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"roost"
)

// What is stored is read by later versions: these bytes stay.
func TestRecordsLookTheSameForEver(t *testing.T) {
	e := &roost.Edits{Rev: 7, Pools: map[roost.PoolID]roost.PoolEdits{
		"fn": {
			Nodes: []roost.Node{
				{ID: "10.0.0.1:80", Addr: "10.0.0.1:80", Weight: 1000},
				{ID: "b", Addr: "unix:/run/b.sock", Zone: "z", Weight: 1, Host: "lb", Sleeps: true},
			},
			Weights: map[roost.NodeID]uint32{"b": 500},
			Holds: map[roost.NodeID]roost.Hold{
				"b": {Kind: roost.Draining, Cause: "operator", Since: roost.Stamp{Wall: 3, Count: 2, By: "lb"}, Deadline: time.Second},
				"c": {Kind: roost.Down, Cause: "operator", Since: roost.Stamp{Wall: 4}},
			},
			Pins:  []roost.PinIntent{{Key: "/r/a", Nodes: []roost.NodeID{"c", "b"}}, {Key: "k", Homes: 2}},
			Homes: 4,
		},
		"ws": {Homes: 1},
	}}
	records, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, r := range records {
		fmt.Fprintf(&got, "%s %s %s %s\n", r.Kind, r.Pool, r.Name, r.Value)
	}
	const want = `hold fn b {"kind":"draining","cause":"operator","wall":3,"count":2,"by":"lb","deadline":1000000000}
hold fn c {"kind":"down","cause":"operator","wall":4}
homes fn  {"homes":4}
homes ws  {"homes":1}
node fn 10.0.0.1:80 {"addr":"10.0.0.1:80","weight":1000}
node fn b {"addr":"unix:/run/b.sock","zone":"z","weight":1,"host":"lb","sleeps":true}
pin fn 5e629eccc8f1856bf6af5fe82b4b85290a8599aedb8d07735ed2ae39d6f07554 {"key":"/r/a","nodes":["c","b"]}
pin fn 8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a {"key":"k","homes":2}
weight fn b {"weight":500}
`
	if got.String() != want {
		t.Errorf("got\n%s", &got)
	}
	back, err := Decode("it", 7, records)
	if err != nil || !reflect.DeepEqual(back, e) {
		t.Errorf("came back as %+v, %v", back, err)
	}
}

// No field of what operators change may be forgotten by the records.
func TestRecordsKnowEveryField(t *testing.T) {
	for _, c := range []struct {
		of     any
		fields int
	}{{roost.PoolEdits{}, 5}, {roost.Node{}, 8}, {roost.Hold{}, 4}, {roost.Stamp{}, 3}, {roost.PinIntent{}, 3}} {
		if n := reflect.TypeOf(c.of).NumField(); n != c.fields {
			t.Errorf("%T has %d fields, records know %d: store the others too", c.of, n, c.fields)
		}
	}
}

func TestRecordsThatAreNotUnderstoodAreErrors(t *testing.T) {
	ok := Record{Key{"weight", "p", "n"}, `{"weight":1}`}
	for _, c := range []struct {
		records []Record
		want    Kind
		words   string
	}{
		{[]Record{{Key{"ban", "p", "n"}, "{}"}}, Newer, `ban "n" of pool "p"`},
		{[]Record{{ok.Key, `{"weight":1,"until":5}`}}, Newer, "until"},
		{[]Record{{Key{"hold", "p", "n"}, `{"kind":"parked"}`}}, Newer, "parked"},
		{[]Record{ok, ok}, Corrupt, "twice"},
		{[]Record{{ok.Key, `{"weight":-1}`}}, Corrupt, "weight"},
		{[]Record{{ok.Key, ``}}, Corrupt, "no object"},
		{[]Record{{ok.Key, `null`}}, Corrupt, "no object"},
		{[]Record{{ok.Key, `{"weight":1} 2`}}, Corrupt, "more than"},
		{[]Record{{ok.Key, "{\"weight\":1}\xff"}}, Corrupt, "not text"},
		{[]Record{{Key{"pin", "p", "n"}, `{"key":"k","homes":1}`}}, Corrupt, `"k"`},
		{[]Record{{Key{"homes", "p", ""}, `{}`}}, Corrupt, "none"},
		{[]Record{{Key{"homes", "p", "n"}, `{"homes":1}`}}, Corrupt, "none"},
		{[]Record{{Key{"weight", "p\x00", "n"}, ok.Value}}, Corrupt, "not text"},
		{[]Record{{Key{"weight", "p", strings.Repeat("n", MaxName+1)}, ok.Value}}, Corrupt, "513 bytes"},
	} {
		_, err := Decode("store x", 1, c.records)
		if !errors.Is(err, c.want) || KindOf(err) != c.want || !strings.Contains(err.Error(), c.words) || !strings.HasPrefix(err.Error(), "store x: ") {
			t.Errorf("%v: %v, want %s that says %q", c.records, err, string(c.want), c.words)
		}
	}
}

func TestKindOfAnythingElseIsUnavailable(t *testing.T) {
	if k := KindOf(errors.New("no store's")); k != Unavailable {
		t.Errorf("%q", string(k))
	}
	if k := KindOf(fmt.Errorf("save: %w", &Error{Kind: Full, Err: errors.New("x")})); k != Full {
		t.Errorf("%q", string(k))
	}
}

// Whatever decodes is encoded to as many records, and these to the same edits: nothing is lost on the way.
func FuzzRecords(f *testing.F) {
	f.Add("node", "p", "n", `{"addr":"n:1","weight":1000}`, "homes", "p", "", `{"homes":3}`)
	f.Fuzz(func(t *testing.T, kind1, pool1, name1, value1, kind2, pool2, name2, value2 string) {
		if kind1 == "pin" { // or nothing but pins' names would be tried
			name1 = pinNameIn(value1)
		}
		given := []Record{{Key{kind1, roost.PoolID(pool1), name1}, value1}, {Key{kind2, roost.PoolID(pool2), name2}, value2}}
		e, err := Decode("it", 1, given)
		if err != nil {
			return
		}
		records, err := Encode(e)
		if err != nil || len(records) != len(given) {
			t.Fatalf("%d records become %d, %v", len(given), len(records), err)
		}
		again, err := Decode("it", 1, records)
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("%+v becomes %+v, %v", e, again, err)
		}
	})
}

func pinNameIn(value string) string {
	var pin pinValue
	(&Record{Value: value}).read(&pin)
	return pinName(pin.Key)
}
