package serve

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"roost"
)

func listeners(addresses ...string) (ls []roost.Listener) {
	for i, a := range addresses {
		ls = append(ls, roost.Listener{Name: fmt.Sprint("l", i), Address: a})
	}
	return ls
}

func TestASocketIsKeptByItsAddressWhateverElseChanges(t *testing.T) {
	held := []socket{{id: 0, address: ":80", name: "l0"}, {id: 1, address: ":81", name: "l1"}, {id: 2, address: ":82", name: "l2"}}
	for _, c := range []struct {
		name   string
		held   []socket
		want   []roost.Listener
		keep   []int
		ids    []roost.ListenerID
		retire []int
	}{
		{"a start", nil, listeners(":80", ":81"), []int{-1, -1}, []roost.ListenerID{0, 1}, nil},
		{"the same", held, listeners(":80", ":81", ":82"), []int{0, 1, 2}, []roost.ListenerID{0, 1, 2}, nil},
		{"renamed and in another order", held, listeners(":82", ":80", ":81"), []int{2, 0, 1}, []roost.ListenerID{2, 0, 1}, nil},
		{"one gone, one new", held, listeners(":80", ":90", ":82"), []int{0, -1, 2}, []roost.ListenerID{0, 3, 2}, []int{1}},
		{"a retired one is not kept", []socket{{id: 0, address: ":80", retired: true}}, listeners(":80"), []int{-1}, []roost.ListenerID{1}, nil},
		{"every interface has several names", []socket{{id: 0, address: ":80"}, {id: 1, address: "[::1]:81"}}, listeners("[::]:80", "[0::1]:81"), []int{0, 1}, []roost.ListenerID{0, 1}, nil},
		{"an id is free again once its socket is forgotten", []socket{{id: 1, address: ":81"}}, listeners(":81", ":90", ":91"), []int{0, -1, -1}, []roost.ListenerID{1, 0, 2}, nil},
		{"names tell port 0 apart", []socket{{id: 0, address: ":0", name: "l1"}, {id: 1, address: ":0", name: "l0"}}, listeners(":0", ":0", ":0"), []int{1, 0, -1}, []roost.ListenerID{1, 0, 2}, nil},
	} {
		p, err := planSockets(c.held, c.want)
		if err != nil || !slices.Equal(p.keep, c.keep) || !slices.Equal(p.ids, c.ids) || !slices.Equal(p.retire, c.retire) {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
	}
}

func TestAPlanKeepsRetiresAndOpensEachSocketExactlyOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.SampledFrom([]string{":0", ":80", ":81", "10.0.0.1:80", "unix:/x"})
		ids := rapid.SliceOfDistinct(rapid.Uint16Range(0, 9), rapid.ID).Draw(t, "ids")
		var held []socket
		for _, id := range ids {
			held = append(held, socket{id: roost.ListenerID(id), address: address.Draw(t, "held"), retired: rapid.Bool().Draw(t, "retired")})
		}
		want := listeners(rapid.SliceOfN(address, 0, 6).Draw(t, "want")...)
		p, err := planSockets(held, want)
		if err != nil {
			t.Fatal(err)
		}
		live := map[roost.ListenerID]bool{} // those that stay in use, and the new ones
		for i := range want {
			if live[p.ids[i]] {
				t.Fatalf("id %d is given twice", p.ids[i])
			}
			live[p.ids[i]] = true
			if j := p.keep[i]; j >= 0 && (held[j].retired || held[j].address != want[i].Address || held[j].id != p.ids[i]) {
				t.Fatalf("listener %d keeps %+v", i, held[j])
			}
		}
		for j, s := range held {
			kept, retired := slices.Contains(p.keep, j), slices.Contains(p.retire, j)
			if kept && retired || !kept && !retired != s.retired {
				t.Fatalf("socket %+v: kept %v, retired %v", s, kept, retired)
			}
			if !kept && live[s.id] {
				t.Fatalf("the id of %+v is used again before it is forgotten", s)
			}
			unmet := slices.ContainsFunc(want, func(l roost.Listener) bool {
				return l.Address == s.address && p.keep[slices.IndexFunc(want, func(m roost.Listener) bool { return m.Name == l.Name })] < 0
			})
			if retired && unmet {
				t.Fatalf("socket %+v is retired although a listener wants its address", s)
			}
		}
	})
}

func TestTooManyRetiredSocketsRefuseANewOne(t *testing.T) {
	held := make([]socket, maxSockets)
	for i := range held {
		held[i] = socket{id: roost.ListenerID(i), retired: true}
	}
	if _, err := planSockets(held, listeners(":80")); err == nil {
		t.Error("it was planned")
	}
}
