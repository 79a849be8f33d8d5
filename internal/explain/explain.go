// Package explain says what would happen to one request, and why: route, key, slot, homes, choice. It also says where one
// key lives, and what a pool's table holds.
//
// Guarantee: it asks the same functions that carry traffic (route.Match, route.Extract, Table.Walk, pick.Begin), so it
// cannot tell another story than the balancer; and it counts nothing in the snapshot it is given, so that a running
// balancer may explain by its own.
//
// Trap: loads move. An explanation is of the moment it was made.
package explain

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"roost"
	"roost/internal/api"
	"roost/internal/pick"
	"roost/internal/route"
)

// DefaultClient is the client of a request that names none: an address of the network for documentation (RFC 5737).
const DefaultClient = "192.0.2.1"

// maxCandidates bounds the list: homes, and successors enough to see who would take over.
const maxCandidates = roost.RowLen

// Explain runs the request through snap. live tells that snap is a running balancer's, so that its loads and verdicts mean
// something. The error is a *roost.ChangeError that says which part of the request cannot be read; that nothing matches
// is an answer, not an error.
func Explain(snap *roost.Snapshot, q api.Request, live bool) (*api.Explanation, error) {
	lv, err := listener(snap, q.Listener)
	if err != nil {
		return nil, err
	}
	r, err := view(lv, q)
	if err != nil {
		return nil, err
	}
	a := &api.Explanation{Listener: lv.Name, Live: live, Candidates: []api.Candidate{}}
	rt := route.Match(lv, r)
	if rt == nil {
		a.Why = "no_route"
		a.Notes = append(a.Notes, "no route matches; "+outcome(lv, 404, "no_route"))
		return a, nil
	}
	p := still(&snap.Pools[rt.Pool])
	a.Route, a.Pool = rt.Name, rt.PoolID
	a.Epoch, a.Digest, a.Slots = p.Table.Epoch.String(), p.Table.Digest.String(), p.Table.Slots()
	now := time.Now()
	key, ok := route.Extract(rt, r, make([]byte, 0, 256), now.Unix())
	a.Key, a.HasKey = string(key), ok
	if !ok && route.Short(rt, r, nil, now.Unix()) {
		a.Notes = append(a.Notes, "the key is made of the connection's first bytes, which are not known here")
	}
	if !ok && certified(rt) {
		a.Notes = append(a.Notes, "the key is made of the client's certificate, which is not known here")
	}
	if ok {
		a.KeyProgram, a.Unverified = program(rt, r, string(key), now.Unix())
	} else if rt.OnMissing == roost.MissingReject {
		a.Why = "key_missing"
		a.Notes = append(a.Notes, "the request has no key; "+outcome(lv, 400, "key_missing"))
		return a, nil
	}
	choose(a, p, key, now.UnixNano())
	return a, nil
}

// certified tells whether a key may come from the client's certificate.
func certified(rt *roost.Route) bool {
	for i := range rt.Keys {
		if slices.ContainsFunc(rt.Keys[i].Ops, func(op roost.KeyOp) bool { return op.From == roost.FromCert }) {
			return true
		}
	}
	return false
}

// outcome says what becomes of a request that is refused.
func outcome(lv *roost.ListenerView, status int, code string) string {
	if lv.Settings.Protocol == roost.ServesTCP {
		return "the connection is closed, as " + code
	}
	return fmt.Sprintf("the answer is %d %s", status, code)
}

func bad(format string, args ...any) error {
	return &roost.ChangeError{Code: roost.CodeBadChange, Text: fmt.Sprintf(format, args...)}
}

// listener finds the one of a name, or the first, among those that are in the configuration.
func listener(snap *roost.Snapshot, name string) (*roost.ListenerView, error) {
	var names []string
	for i := range snap.Listeners {
		lv := &snap.Listeners[i]
		if lv.Name == "" || lv.Retired {
			continue
		}
		if name == "" || lv.Name == name {
			return lv, nil
		}
		names = append(names, lv.Name)
	}
	return nil, bad("there is no listener %q; there is %s", name, strings.Join(names, ", "))
}

// view makes of q what an engine makes of a request head.
func view(lv *roost.ListenerView, q api.Request) (*roost.Request, error) {
	u, err := url.Parse(q.URL)
	if err != nil {
		return nil, bad("read URL: %v", err)
	}
	if u.Opaque != "" || (u.Host == "" && !strings.HasPrefix(q.URL, "/")) {
		return nil, bad("read URL %q: give http://host/path or /path", q.URL)
	}
	r := &roost.Request{Method: q.Method, Scheme: u.Scheme, Host: u.Host, Target: u.EscapedPath()}
	if q.Client == "" {
		q.Client = DefaultClient
	}
	if r.Client, err = netip.ParseAddr(q.Client); err != nil {
		return nil, bad("read client: %q is not an address", q.Client)
	}
	if r.Method == "" {
		r.Method = "GET"
	}
	if r.Scheme == "https" || lv.Settings.Protocol == roost.ServesTCP {
		r.SNI = route.Hostname(r.Host)
	}
	if lv.Settings.Protocol == roost.ServesTCP {
		r.Method, r.Host, r.Target = "", r.SNI, ""
		return r, nil
	}
	if r.Target == "" {
		r.Target = "/"
	}
	if u.RawQuery != "" {
		r.Target += "?" + u.RawQuery
	}
	for _, f := range q.Fields {
		name, value, ok := strings.Cut(f, ":")
		if !ok {
			return nil, bad("read field %q: write it as 'Name: value'", f)
		}
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name == "host" {
			r.Host = value
		}
		for i, w := range lv.Want {
			if w == name && r.Has&(1<<i) == 0 {
				r.Want[i] = value
				r.Has |= 1 << i
			}
		}
	}
	return r, nil
}

// program finds which of the route's key programs gave the key.
func program(rt *roost.Route, r *roost.Request, key string, now int64) (text string, unverified bool) {
	for i := range rt.Keys {
		one := *rt
		one.Keys, one.OnMissing = rt.Keys[i:i+1], roost.MissingBalance
		if k, ok := route.Extract(&one, r, nil, now); ok && string(k) == key {
			return rt.Keys[i].Text, rt.Keys[i].Unverified()
		}
	}
	return "client_ip (on_missing_key)", false
}

// still copies what pick reads and counts in, as it is now.
func still(p *roost.PoolView) *roost.PoolView {
	s := *p
	s.Live, s.Nodes = &roost.PoolLive{}, make([]roost.NodeView, len(p.Nodes))
	s.Live.InFlight.Store(p.Live.InFlight.Load())
	live := make([]roost.Live, len(p.Nodes))
	for i := range p.Nodes {
		s.Nodes[i] = p.Nodes[i]
		s.Nodes[i].Live = &live[i]
		live[i].InFlight.Store(p.Nodes[i].Live.InFlight.Load())
		live[i].HoldUntil.Store(p.Nodes[i].Live.HoldUntil.Load())
		live[i].Load.Store(p.Nodes[i].Live.Load.Load())
	}
	return &s
}

// choose lists the candidates and asks pick.
func choose(a *api.Explanation, p *roost.PoolView, key []byte, now int64) {
	var k *roost.Key
	if a.HasKey {
		k = &roost.Key{Bytes: key, Hash: p.Table.Hash.Sum(key)}
		a.Slot = p.Table.SlotOf(k.Hash)
		if ex := p.Table.Exception(k.Hash); ex != nil {
			a.Exception = ex.Cause.String()
		}
		candidates(a, p, k.Hash, now)
	}
	var t roost.Tried
	at, refusal := pick.Begin(p, k, &t, 0, now)
	if refusal != roost.NotRefused {
		a.Why = refusal.String()
		a.Notes = append(a.Notes, "no node can take it; the answer is 503 "+refusal.String())
		return
	}
	a.Choice, a.Why = at.ID, at.Why.String()
	if !a.HasKey {
		a.Notes = append(a.Notes, "without a key each request goes to the less busy of two nodes drawn at random; this is one such draw")
	}
	for i := range a.Candidates {
		a.Candidates[i].Chosen = a.Candidates[i].Node == a.Choice
	}
}

func candidates(a *api.Explanation, p *roost.PoolView, k roost.KeyHash, now int64) {
	w := p.Table.Walk(k)
	a.Homes = w.Homes
	seen := map[roost.NodeRef]bool{}
	for len(a.Candidates) < maxCandidates {
		ref, home := w.Next()
		if ref == roost.NoNode {
			return
		}
		if seen[ref] || p.Table.Roster[ref].Share == 0 {
			continue
		}
		seen[ref] = true
		n := &p.Nodes[ref]
		a.Candidates = append(a.Candidates, api.Candidate{Node: n.ID, Address: n.Addr, Home: home, Verdict: n.Verdict.String(),
			Duty: n.Duty.String(), InFlight: n.Live.InFlight.Load(), Limit: pick.Limit(p, n, now)})
	}
}
