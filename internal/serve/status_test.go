package serve

import (
	"reflect"
	"testing"

	"roost"
	"roost/internal/api"
)

func TestPinsSayWhatTheyWereAskedForAndByWhom(t *testing.T) {
	placed := []roost.NodeID{"x"}
	pins := []api.Pin{{Key: "a", Nodes: placed}, {Key: "b", Nodes: placed}, {Key: "c", Nodes: placed}}
	asked(pins, []roost.PinIntent{{Key: "a", Nodes: []roost.NodeID{"n"}}, {Key: "b", Homes: 2}, {Key: "left out", Homes: 3}}, "file")
	asked(pins, []roost.PinIntent{{Key: "b", Homes: 4}, {Key: "c", Nodes: []roost.NodeID{"m", "n"}}}, "api")
	want := []api.Pin{{Key: "a", Nodes: []roost.NodeID{"n"}, By: "file"}, {Key: "b", Homes: 4, By: "api"}, {Key: "c", Nodes: []roost.NodeID{"m", "n"}, By: "api"}}
	if !reflect.DeepEqual(pins, want) {
		t.Errorf("%+v, want %+v", pins, want)
	}
}
