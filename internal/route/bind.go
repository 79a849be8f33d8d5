package route

import (
	"fmt"
	"slices"

	"roost"
)

// Bind returns a copy of rt whose fields have slots in a listener's want, and want with those that were missing. One
// listener's routes are bound one after another. The error names the field for which there is no slot left.
func Bind(rt *roost.Route, want []string) (*roost.Route, []string, error) {
	var err error
	slot := func(name string) int {
		i := slices.Index(want, name)
		if i >= 0 {
			return i
		}
		if len(want) == roost.MaxWant {
			err = fmt.Errorf("field %q is one too many: the routes of one listener can look at %d", name, roost.MaxWant)
			return 0
		}
		want = append(want, name)
		return len(want) - 1
	}
	bound := *rt
	bound.Match.Fields = slices.Clone(rt.Match.Fields)
	for i := range bound.Match.Fields {
		bound.Match.Fields[i].Want = slot(bound.Match.Fields[i].Name)
	}
	bound.Keys = slices.Clone(rt.Keys)
	for i := range bound.Keys {
		ops := slices.Clone(bound.Keys[i].Ops)
		for j := range ops {
			if ops[j].Field != "" {
				ops[j].Index = slot(ops[j].Field)
			}
		}
		bound.Keys[i].Ops = ops
	}
	return &bound, want, err
}
