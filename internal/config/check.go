package config

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"

	"roost"
	"roost/internal/route"
)

// config reads the whole configuration and checks what its parts say of each other. The configuration is nil when
// anything is wrong.
func (d *decoder) config(root *yaml.Node) (*roost.Config, Diagnostics) {
	f := d.root(value{n: root, kind: "a block of settings", echo: &yaml.Node{}})
	d.checkPorts(f)
	for _, p := range f.pools {
		d.checkNodes(p)
	}
	d.resolve(f)
	d.bind(f)
	if d.found.Failed() {
		return nil, d.found.sorted()
	}
	// What is only worth a look is not worth it beside errors: a misspelt pool would be unused, too.
	d.checkPools(f)
	d.checkReach(f)
	if shared := func(l *listener) bool { return l.shared.written() }; len(f.tls.Certificates) > 0 && !slices.ContainsFunc(f.listeners, shared) {
		d.warn(f.tlsAt, CodeUnusedTLS, "write tls: true in a listener", "no listener shows these certificates: all are clear text or have their own")
	}
	cfg := f.config(roost.Digest(d.digest.Sum(nil)))
	cfg.Files = d.files
	return cfg, d.found.sorted()
}

// checkPorts reports listeners, those of operators included, that want one address.
func (d *decoder) checkPorts(f *draft) {
	type taken struct {
		at value
		address
	}
	var all []taken
	for _, l := range f.listeners {
		if l.conf.Address != "" {
			all = append(all, taken{l.address, l.parsed})
		}
	}
	if f.admin.parsed.text != "" {
		all = append(all, taken{f.admin.listen, f.admin.parsed})
	}
	if name := f.cfg.Admin.Socket; name != "" {
		all = append(all, taken{f.admin.socket, address{text: "unix:" + name, unix: true}})
	}
	for i, b := range all {
		for _, a := range all[:i] {
			if !a.overlaps(b.address) {
				continue
			}
			at, other := b, a
			if at.at.preset { // nobody wrote the second
				at, other = a, b
			}
			how := ""
			if other.at.preset {
				how = ", by default"
			}
			d.fail(at.at, CodePort, "", "%s is taken by %s already (%s%s)", at.text, d.called(other.at), other.text, how)
			break
		}
	}
}

// called names a setting, or the flag that stands for it.
func (d *decoder) called(v value) string {
	if flag, ok := d.flags[v.n]; ok {
		return flag.name
	}
	return v.path
}

// first says where the other one of two equal things stands; of flags the reader sees it.
func (d *decoder) first(v value) string {
	if d.flags != nil {
		return ""
	}
	return "the first is " + v.path
}

// checkNodes reports nodes that are twice in a pool.
func (d *decoder) checkNodes(p *pool) {
	ids, addresses := map[roost.NodeID]int{}, map[string]int{}
	for i := range p.nodes {
		n := &p.conf.Intent.Nodes[i]
		if j, ok := ids[n.ID]; ok {
			d.fail(p.nodes[i].at, CodeDuplicate, d.first(p.nodes[j].at), "node %s is there twice", quoted(string(n.ID)))
		} else if j, ok := addresses[n.Addr]; ok {
			d.fail(p.nodes[i].at, CodeDuplicate, d.first(p.nodes[j].at), "address %s is there twice", n.Addr)
		}
		ids[n.ID], addresses[n.Addr] = i, i
	}
}

// resolve gives routes their pools and names, and listeners their certificates.
func (d *decoder) resolve(f *draft) {
	if len(f.routes) == 0 && len(f.pools) == 1 {
		f.routesAt.sayList()
		r := &rule{at: value{path: "routes", echo: f.routesAt.echoItem()}}
		r.read(d, r.at)
		f.routes = append(f.routes, r)
	} else if len(f.routes) == 0 && len(f.pools) > 1 {
		d.fail(value{path: "routes"}, CodeMissing, "", "with several pools there must be routes that say what goes where")
	}
	var pools []string
	for _, p := range f.pools {
		pools = append(pools, string(p.conf.ID))
	}
	names := map[string]*rule{}
	for _, r := range f.routes {
		if r.rt.Name != "" {
			if names[r.rt.Name] != nil {
				d.fail(r.name, CodeDuplicate, d.first(names[r.rt.Name].at), "route %s is there twice", quoted(r.rt.Name))
			}
			names[r.rt.Name] = r
		}
		d.findPool(r, f, pools)
	}
	for _, r := range f.routes {
		for i := 1; r.rt.Name == ""; i++ {
			name := string(r.rt.PoolID)
			if i > 1 {
				name = fmt.Sprintf("%s-%d", name, i)
			}
			if names[name] == nil {
				r.rt.Name, names[name] = name, r
				r.name.say(name)
			}
		}
	}
	for _, l := range f.listeners {
		if !l.shared.written() {
			continue
		}
		if l.conf.TLS = &f.tls; len(f.tls.Certificates) == 0 && !d.failedIn(f.tlsAt) {
			d.fail(l.shared, CodeMissing, "write tls: { certificates: [ { cert: FILE, key: FILE } ] } at the top", "there is no certificate for it")
		}
	}
}

// failedIn reports whether something below v is wrong already.
func (d *decoder) failedIn(v value) bool {
	for i := range d.found {
		p := d.found[i].Path
		if p == v.path || len(p) > len(v.path) && p[:len(v.path)] == v.path && (p[len(v.path)] == '.' || p[len(v.path)] == '[') {
			return true
		}
	}
	return false
}

func (d *decoder) findPool(r *rule, f *draft, pools []string) {
	if !r.pool.written() || r.broken && r.rt.PoolID == "" {
		if len(f.pools) == 1 {
			r.rt.PoolID = f.pools[0].conf.ID
			r.pool.say(string(r.rt.PoolID))
		} else if len(f.pools) > 1 && !r.broken {
			d.fail(r.at, CodeMissing, "", "with several pools a route must say which is its pool")
		}
		return
	}
	for i, p := range f.pools {
		if p.conf.ID == r.rt.PoolID {
			r.rt.Pool = roost.PoolRef(i)
			return
		}
	}
	d.fail(r.pool, CodePool, didYouMean(string(r.rt.PoolID), pools), "there is no pool %s", quoted(string(r.rt.PoolID)))
}

// bind gives each listener its routes, and the routes their slots there.
func (d *decoder) bind(f *draft) {
	var known []string
	for _, l := range f.listeners {
		known = append(known, l.conf.Name)
	}
	for _, r := range f.routes {
		for _, ref := range r.listeners {
			if !slices.Contains(known, ref.name) {
				d.fail(ref.at, CodeListener, didYouMean(ref.name, known), "there is no listener %s", quoted(ref.name))
			}
		}
		var takers []*listener
		for i, l := range f.listeners {
			if len(r.listeners) == 0 || slices.ContainsFunc(r.listeners, func(ref reference) bool { return ref.name == l.conf.Name }) {
				takers = append(takers, l)
				r.on.add(i)
			}
		}
		d.suit(r, takers)
		for _, l := range takers {
			bound, want, err := route.Bind(&r.rt, l.conf.Want)
			if err != nil {
				d.fail(r.at, CodeTooMany, "", "%v", err)
			}
			l.conf.Want = want
			l.bound, l.rules = append(l.bound, bound), append(l.rules, r)
			l.conf.Hello = l.conf.Hello || l.conf.Settings.Protocol == roost.ServesTCP && route.NeedsHello(bound)
		}
	}
}

// checkPools warns of pools that nothing can come from, or to.
func (d *decoder) checkPools(f *draft) {
	used := map[roost.PoolID]bool{}
	for _, r := range f.routes {
		used[r.rt.PoolID] = true
	}
	for _, p := range f.pools {
		if len(p.nodes) == 0 {
			d.warn(p.at, CodeEmptyPool, "", "the pool has no nodes: until the API adds some, its requests get a 503")
		}
		if !used[p.conf.ID] {
			d.warn(p.at, CodeUnusedPool, "", "no route leads to this pool")
		}
	}
}

// checkReach warns of listeners and routes that no request gets through to.
func (d *decoder) checkReach(f *draft) {
	for _, l := range f.listeners {
		if len(l.bound) == 0 {
			d.warn(l.at, CodeIdleListener, "", "no route takes requests of this listener: all get a 404")
		}
	}
	for i, r := range f.routes {
		left := r.on
		for _, before := range f.routes[:i] {
			if !route.Covers(&before.rt.Match, &r.rt.Match) {
				continue
			}
			if left = left.without(before.on); left == (listenerSet{}) {
				d.warn(r.at, CodeUnreachable, "put the narrower route first", "this route is never reached: %s takes its requests before", before.at.path)
				break
			}
		}
	}
}

// listenerSet holds listeners by index.
type listenerSet [maxListeners / 64]uint64

func (s *listenerSet) add(i int) { s[i/64] |= 1 << (i % 64) }

func (s listenerSet) without(t listenerSet) listenerSet {
	for i := range s {
		s[i] &^= t[i]
	}
	return s
}

// config puts the parts together.
func (f *draft) config(digest roost.Digest) *roost.Config {
	cfg := &f.cfg
	cfg.Digest, cfg.Effective = digest, effective(f.at.echo)
	for _, p := range f.pools {
		cfg.Pools = append(cfg.Pools, p.conf)
	}
	first := map[*rule]*roost.Route{}
	for _, l := range f.listeners {
		l.conf.Routes = l.bound
		for i, r := range l.rules {
			if first[r] == nil {
				first[r] = l.bound[i]
			}
		}
		cfg.Listeners = append(cfg.Listeners, l.conf)
	}
	for _, r := range f.routes {
		cfg.Routes = append(cfg.Routes, first[r])
	}
	return cfg
}
