package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"roost"
	"roost/internal/api"
)

func TestEveryChangeReachesTheBalancerAsItIsMeant(t *testing.T) {
	const pool, node = "/api/v1/pools/fn", "/api/v1/pools/fn/nodes/n2"
	synctest.Test(t, func(t *testing.T) {
		hold := func(kind roost.HoldKind, deadline time.Duration) roost.Hold {
			return roost.Hold{Kind: kind, Cause: "operator", Deadline: deadline} // who makes the change stamps it
		}
		for _, x := range []struct {
			method, target, body string
			want                 roost.Change
		}{
			{"POST", pool + "/nodes", `{"address":"10.0.0.9:80"}`,
				roost.AddNode{Pool: "fn", Node: roost.Node{ID: "10.0.0.9:80", Addr: "10.0.0.9:80", Weight: 1000}}},
			{"POST", pool + "/nodes", `{"address":"10.0.0.9:80","name":"n9","weight":0.5,"zone":"b"}`,
				roost.AddNode{Pool: "fn", Node: roost.Node{ID: "n9", Addr: "10.0.0.9:80", Weight: 500, Zone: "b"}}},
			{"POST", pool + "/nodes", `{"address":"unix:/run/a=b*2"}`,
				roost.AddNode{Pool: "fn", Node: roost.Node{ID: "unix:/run/a=b*2", Addr: "unix:/run/a=b*2", Weight: 1000}}},
			{"DELETE", node, "", roost.RemoveNode{Pool: "fn", Node: "n2"}},
			{"PATCH", node, `{"weight":0.001}`, roost.SetWeight{Pool: "fn", Node: "n2", Weight: 1}},
			{"PATCH", node, `{"weight":1000}`, roost.SetWeight{Pool: "fn", Node: "n2", Weight: roost.MaxWeight}},
			{"PATCH", node, `{"weight":null}`, roost.SetWeight{Pool: "fn", Node: "n2"}},
			{"POST", node + "/drain", "", roost.SetHold{Pool: "fn", Node: "n2", Hold: hold(roost.Draining, 0)}},
			{"POST", node + "/drain", `{"deadline":"1m30s","force":true}`,
				roost.SetHold{Pool: "fn", Node: "n2", Hold: hold(roost.Draining, 90*time.Second), Force: true}},
			{"POST", node + "/down", `{}`, roost.SetHold{Pool: "fn", Node: "n2", Hold: hold(roost.Down, 0)}},
			{"POST", node + "/undrain", "", roost.LiftHold{Pool: "fn", Node: "n2"}},
			{"PUT", pool + "/pins", `{"key":"a/b","nodes":["n2","10.0.0.1:80"],"by":"api"}`,
				roost.SetPin{Pool: "fn", Pin: roost.PinIntent{Key: "a/b", Nodes: []roost.NodeID{"n2", "10.0.0.1:80"}}}},
			{"PUT", pool + "/pins", `{"key":"é","homes":3}`, roost.SetPin{Pool: "fn", Pin: roost.PinIntent{Key: "é", Homes: 3}}},
			{"DELETE", pool + "/pins?key=a%2Fb%26c+d", "", roost.RemovePin{Pool: "fn", Key: "a/b&c d"}},
			{"PATCH", pool, `{"homes":2}`, roost.SetHomes{Pool: "fn", Homes: 2}},
			{"PATCH", pool, `{"homes":null}`, roost.SetHomes{Pool: "fn"}},
		} {
			f := new(fake)
			w := call(New(f.options()), x.method, x.target, x.body)
			if w.Code != 200 || len(f.changes) != 1 || !reflect.DeepEqual(f.changes[0], x.want) {
				t.Errorf("%s %s %s: %d: %s: %#v", x.method, x.target, x.body, w.Code, w.Body, f.changes)
			}
			if etag := w.Header().Get("ETag"); etag != `"43"` || strings.TrimSpace(w.Body.String()) != `{"revision":43,"pool":"fn","epoch":"1.4.28-0a0b0c0d"}` {
				t.Errorf("%s %s: ETag %s: %s", x.method, x.target, etag, w.Body)
			}
		}
	})
}

// Ids are addresses: with colons, brackets, and the slashes of sockets.
func TestNodesAreFoundByAnyID(t *testing.T) {
	for _, id := range []roost.NodeID{"n2", "10.0.0.1:80", "[::1]:80", "unix:/run/x.sock", "unix:/run/a b%2F?#.sock", "ü", "a+b", "%41", "..", "drain"} {
		f := new(fake)
		o := f.options()
		o.Status = func() roost.Status {
			return roost.Status{Pools: []roost.PoolStatus{{ID: "a/b", Nodes: []roost.NodeStatus{{ID: id, Zone: "here"}}}}}
		}
		address := start(t, New(o))
		target := "/api/v1/pools/a%2Fb/nodes/" + url.PathEscape(string(id))
		if id == ".." {
			target = "/api/v1/pools/a%2Fb/nodes/%2E%2E"
		}
		send := func(method, target string) int {
			r := request(t, method, "/", nil)
			r.URL = &url.URL{Opaque: target} // as it stands
			answer, err := http.DefaultClient.Do(&http.Request{Method: method, URL: &url.URL{Scheme: "http", Host: address, Opaque: target}, Host: "localhost"})
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			return answer.StatusCode
		}
		if status := send("GET", target); status != 200 {
			t.Errorf("%s: %d", target, status)
		}
		if status := send("POST", target+"/undrain"); status != 200 || !reflect.DeepEqual(f.changes, []roost.Change{roost.LiftHold{Pool: "a/b", Node: id}}) {
			t.Errorf("%s/undrain: %d: %#v", target, status, f.changes)
		}
	}
}

func TestAChangeIsMadeOnlyIfNobodyWasFaster(t *testing.T) {
	for match, want := range map[string]string{"": "none", "*": "none", `"0"`: "0", ` "42" `: "42"} {
		f := new(fake)
		w := call(New(f.options()), "DELETE", "/api/v1/pools/fn/nodes/n2", "", "If-Match", match)
		if w.Code != 200 || len(f.revs) != 1 || f.revs[0] != want {
			t.Errorf("If-Match %s: %d, %v", match, w.Code, f.revs)
		}
	}
	for _, match := range []string{"42", `"`, `"42`, `42"`, `""`, `"-1"`, `"99999999999999999999"`, `"1","2"`, "x"} {
		f := new(fake)
		w := call(New(f.options()), "DELETE", "/api/v1/pools/fn/nodes/n2", "", "If-Match", match)
		if p := problem(t, w.Code, w.Header(), w.Body.String()); w.Code != 400 || p.Code != api.CodeBadRequest || f.changes != nil {
			t.Errorf("If-Match %s: %d: %s", match, w.Code, w.Body)
		}
	}
	for _, target := range []string{"/status", "/nodes", "/pools", "/pools/fn", "/pools/fn/nodes", "/pools/fn/nodes/n2", "/pools/fn/pins"} {
		if w := call(New(options()), "GET", "/api/v1"+target, ""); w.Header().Get("ETag") != `"42"` {
			t.Errorf("%s: ETag %s", target, w.Header().Get("ETag"))
		}
	}
}

func TestRefusedChangesSayWhy(t *testing.T) {
	for code, want := range map[string]int{
		roost.CodeNoPool: 404, roost.CodeNoNode: 404, roost.CodeNoPin: 404,
		roost.CodeListedByFile: 409, roost.CodeLastNode: 409, roost.CodeNodeExists: 409,
		roost.CodeRevMoved: 412, roost.CodeBadChange: 422, roost.CodeStoreAway: 503, roost.CodeEnding: 503,
	} {
		f := &fake{refuse: fmt.Errorf("make a change: %w", &roost.ChangeError{Code: code, Text: "because, \"quoted\" & <so> on"})}
		w := call(New(f.options()), "DELETE", "/api/v1/pools/fn/nodes/n2", "")
		if p := problem(t, w.Code, w.Header(), w.Body.String()); w.Code != want || p.Code != code || p.Detail != `because, "quoted" & <so> on` {
			t.Errorf("%s: %d: %s", code, w.Code, w.Body)
		}
	}
	f := &fake{refuse: context.DeadlineExceeded}
	if w := call(New(f.options()), "DELETE", "/api/v1/pools/fn/nodes/n2", ""); w.Code != 503 || !strings.Contains(w.Body.String(), api.CodeUnfinished) {
		t.Errorf("out of time: %d: %s", w.Code, w.Body)
	}
}

func TestARefusedReloadIsAnAnswerWithAllMistakes(t *testing.T) {
	f := &fake{reload: api.Reload{Digest: "0123456789ab", Errors: state().Reload.Errors}}
	o := f.options()
	var asked []string
	o.Reload = func(_ context.Context, by string, dry bool) api.Reload {
		asked = append(asked, fmt.Sprint(by, dry))
		return f.reload
	}
	s := New(o)
	w := call(s, "POST", "/api/v1/reload", "")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"ok":false`) || strings.Count(w.Body.String(), `"line":3,"column":5`) != 2 {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	call(s, "POST", "/api/v1/reload?dry_run=true", "")
	if got := fmt.Sprint(asked); got != "[apifalse apitrue]" {
		t.Error(got)
	}
}
