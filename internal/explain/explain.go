// Package explain says what would happen to one request, and why: route, key, slot, homes, choice.
//
// Guarantee: it asks the same functions that carry traffic (route.Match, route.Extract, Table.Walk, pick.Begin), so it
// cannot tell another story than the balancer.
//
// Trap: loads move. With a running balancer's status it explains that moment, without one an idle pool.
package explain

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"roost"
	"roost/internal/pick"
	"roost/internal/route"
)

// Request is the request to explain.
type Request struct {
	Method   string
	URL      string   // http://host/path?query, or only /path
	Fields   []string // "Name: value"
	Client   netip.Addr
	Listener string // name; "": the first
}

// Candidate is one node in the order in which it would be asked.
type Candidate struct {
	Node     roost.NodeID `json:"node"`
	Address  string       `json:"address"`
	Home     bool         `json:"home"`
	Verdict  string       `json:"verdict"`
	Duty     string       `json:"duty"`
	InFlight int64        `json:"in_flight"`
	Limit    int64        `json:"limit"` // in flight beyond which the next is asked
	Chosen   bool         `json:"chosen"`
}

// Answer is the explanation.
type Answer struct {
	Listener   string       `json:"listener"`
	Route      string       `json:"route"`
	Pool       roost.PoolID `json:"pool"`
	Key        string       `json:"key"`
	HasKey     bool         `json:"has_key"`
	KeyProgram string       `json:"key_program,omitempty"`
	Unverified bool         `json:"unverified,omitempty"` // the key is a JWT claim whose signature nobody checked
	Slot       uint32       `json:"slot"`
	Slots      int          `json:"slots"`
	Exception  string       `json:"exception,omitempty"`
	Epoch      string       `json:"epoch"`
	Digest     string       `json:"digest"`
	Live       bool         `json:"live"` // loads are a running balancer's
	Homes      int          `json:"homes"`
	Candidates []Candidate  `json:"candidates"`
	Choice     roost.NodeID `json:"choice,omitempty"`
	Why        string       `json:"why"`
	Notes      []string     `json:"notes,omitempty"`
}

// maxCandidates bounds the list: homes, and successors enough to see who would take over.
const maxCandidates = roost.RowLen

// Explain runs the request through snap. live is a running balancer's status, or nil. The error says which part of the
// request cannot be read; that nothing matches is an answer, not an error.
func Explain(snap *roost.Snapshot, live *roost.Status, q Request) (*Answer, error) {
	lv, err := listener(snap, q.Listener)
	if err != nil {
		return nil, err
	}
	r, err := view(lv, q)
	if err != nil {
		return nil, err
	}
	a := &Answer{Listener: lv.Name}
	rt := route.Match(lv, r)
	if rt == nil {
		a.Why = "no_route"
		a.Notes = append(a.Notes, "no route matches; the answer is 404 no_route")
		return a, nil
	}
	a.Route, a.Pool = rt.Name, rt.PoolID
	p := &snap.Pools[rt.Pool]
	a.overlay(p, live)
	now := time.Now()
	key, ok := route.Extract(rt, r, make([]byte, 0, 256), now.Unix())
	a.Key, a.HasKey = string(key), ok
	if ok {
		a.KeyProgram, a.Unverified = program(rt, r, string(key), now.Unix())
	} else if rt.OnMissing == roost.MissingReject {
		a.Why = "key_missing"
		a.Notes = append(a.Notes, "the request has no key; the answer is 400 key_missing")
		return a, nil
	}
	a.place(p, key, ok, now.UnixNano())
	return a, nil
}

func listener(snap *roost.Snapshot, name string) (*roost.ListenerView, error) {
	for i := range snap.Listeners {
		if name == "" || snap.Listeners[i].Name == name {
			return &snap.Listeners[i], nil
		}
	}
	return nil, fmt.Errorf("no listener %q", name)
}

// view makes of q what an engine makes of a request head.
func view(lv *roost.ListenerView, q Request) (*roost.Request, error) {
	u, err := url.Parse(q.URL)
	if err != nil {
		return nil, fmt.Errorf("read URL: %w", err)
	}
	if u.Opaque != "" || (u.Host == "" && !strings.HasPrefix(q.URL, "/")) {
		return nil, fmt.Errorf("read URL %q: give http://host/path or /path", q.URL)
	}
	r := &roost.Request{Method: q.Method, Scheme: u.Scheme, Host: u.Host, Target: u.EscapedPath(), Client: q.Client}
	if r.Method == "" {
		r.Method = "GET"
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
			return nil, fmt.Errorf("read field %q: write it as 'Name: value'", f)
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

// overlay puts a running balancer's loads and verdicts into p, which belongs to this call alone.
func (a *Answer) overlay(p *roost.PoolView, live *roost.Status) {
	a.Epoch, a.Digest, a.Slots = p.Table.Epoch.String(), p.Table.Digest.String(), p.Table.Slots()
	if live == nil {
		return
	}
	for i := range live.Pools {
		ps := &live.Pools[i]
		if ps.ID != p.ID {
			continue
		}
		a.Live, a.Epoch = true, ps.Epoch
		if ps.Digest != a.Digest {
			a.Notes = append(a.Notes, fmt.Sprintf("the running balancer's table is %s, the file's would be %s: homes may differ", ps.Digest, a.Digest))
		}
		p.Live.InFlight.Store(ps.InFlight)
		p.Weight, p.Takers = 0, 0
		for j := range p.Nodes {
			n := &p.Nodes[j]
			for k := range ps.Nodes {
				if ns := &ps.Nodes[k]; ns.ID == n.ID {
					n.Weight = uint32(ns.Effective*roost.WeightOne + 0.5)
					n.Verdict, n.Duty = verdict(ns.Verdict), duty(ns.Duty)
					n.Live.InFlight.Store(ns.InFlight)
				}
			}
			p.Weight += uint64(n.Weight)
			if n.Weight > 0 {
				p.Takers++
			}
		}
		return
	}
	a.Notes = append(a.Notes, fmt.Sprintf("the running balancer has no pool %q", p.ID))
}

func verdict(s string) roost.Verdict {
	for v := roost.Unproven; v <= roost.Dead; v++ {
		if v.String() == s {
			return v
		}
	}
	return roost.Unproven
}

func duty(s string) roost.Duty {
	for d := roost.Up; d <= roost.DutyDown; d++ {
		if d.String() == s {
			return d
		}
	}
	return roost.Up
}

// place lists the candidates and asks pick.
func (a *Answer) place(p *roost.PoolView, key []byte, ok bool, now int64) {
	var k *roost.Key
	if ok {
		k = &roost.Key{Bytes: key, Hash: p.Table.Hash.Sum(key)}
		a.Slot = p.Table.SlotOf(k.Hash)
		if ex := p.Table.Exception(k.Hash); ex != nil {
			a.Exception = ex.Cause.String()
		}
		a.candidates(p, k, now)
	}
	var t roost.Tried
	at, refusal := pick.Begin(p, k, &t, 0, now)
	if refusal != roost.NotRefused {
		a.Why = refusal.String()
		a.Notes = append(a.Notes, "no node can take it; the answer is 503 "+refusal.String())
		return
	}
	a.Choice, a.Why = at.ID, at.Why.String()
	pick.End(&at)
	if !ok {
		a.Notes = append(a.Notes, "without a key each request goes to the less busy of two nodes drawn at random; this is one such draw")
	}
	for i := range a.Candidates {
		a.Candidates[i].Chosen = a.Candidates[i].Node == a.Choice
	}
}

func (a *Answer) candidates(p *roost.PoolView, k *roost.Key, now int64) {
	w := p.Table.Walk(k.Hash)
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
		a.Candidates = append(a.Candidates, Candidate{Node: n.ID, Address: n.Addr, Home: home, Verdict: n.Verdict.String(),
			Duty: n.Duty.String(), InFlight: n.Live.InFlight.Load(), Limit: pick.Limit(p, n, now)})
	}
}
