package serve

import (
	"errors"
	"slices"
	"strings"

	"roost"
	"roost/internal/api"
	"roost/internal/explain"
)

// config is the configuration in use.
func (b *Balancer) config() *roost.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cfg
}

// Status is control's view, and what only serve knows.
func (b *Balancer) Status() roost.Status {
	s := b.control.Status()
	s.Version, s.Started, s.Draining = b.o.Version, b.started, b.draining.Load()
	s.Ready = b.ready() == nil
	s.Store = roost.StoreStatus{Kind: b.keeper.store.Kind(), Path: b.keeper.store.Path(), Fault: b.keeper.status()}
	s.Listeners = b.listeners()
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Reload = b.reloaded
	return s
}

// listeners are those of the configuration, and then those that still have connections from before.
func (b *Balancer) listeners() []roost.ListenerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	ls := make([]roost.ListenerStatus, len(b.fronts))
	for i, f := range b.fronts {
		ls[i] = roost.ListenerStatus{Name: f.conf.Name, Address: f.ln.Addr().String(), Retired: f.retired,
			Connections: b.engine.Connections(f.id)}
		if s := f.secrecy.now(); s != nil {
			ls[i].TLS, ls[i].Certificates = true, s.certs.Status()
		}
	}
	return ls
}

// connections are the open client connections by listener.
func (b *Balancer) connections() map[string]int64 {
	m := map[string]int64{}
	for _, l := range b.listeners() {
		m[l.Name] += l.Connections // a retired one may share its name with a new one
	}
	return m
}

// open is how many connections clients have open in all.
func (b *Balancer) open() (n int64) {
	for _, l := range b.listeners() {
		n += l.Connections
	}
	return n
}

// ready says why a balancer should get no traffic, or nil.
func (b *Balancer) ready() error {
	if b.draining.Load() {
		return errors.New("draining")
	}
	if b.snap.Load() == nil {
		return errNoTable
	}
	return nil
}

var errNoTable = errors.New("no table yet")

// Config is the configuration in use, and how the last reload went.
func (b *Balancer) Config() api.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	return api.Config{Digest: b.cfg.Digest.String(), Files: append([]string{}, b.cfg.Files...), YAML: string(b.cfg.Effective), Reload: b.reloaded}
}

// Explain says what would happen to a request at this moment.
func (b *Balancer) Explain(q api.Request) (api.Explanation, error) {
	s := b.snap.Load()
	if s == nil {
		return api.Explanation{}, errNoTable
	}
	e, err := explain.Explain(s, q, true)
	if err != nil {
		return api.Explanation{}, err
	}
	return *e, nil
}

// Key says where a key lives now.
func (b *Balancer) Key(pool roost.PoolID, key string) (api.Key, error) {
	if s := b.snap.Load(); s != nil {
		return explain.Key(s, pool, key)
	}
	return api.Key{}, errNoTable
}

// Table is a pool's table, with the homes of every slot when rows is set.
func (b *Balancer) Table(pool roost.PoolID, rows bool) (api.Table, error) {
	s := b.snap.Load()
	if s == nil {
		return api.Table{}, errNoTable
	}
	t, err := explain.Table(s, pool, rows)
	var conf []roost.PinIntent
	for _, p := range b.config().Pools {
		if p.ID == pool {
			conf = p.Intent.Pins
		}
	}
	asked(t.Pins, conf, "file")
	asked(t.Pins, b.edited.Load().Pools[pool].Pins, "api")
	return t, err
}

// asked makes pins, sorted by key, say what they were asked for, and by whom.
func asked(pins []api.Pin, intents []roost.PinIntent, by string) {
	for _, in := range intents {
		i, found := slices.BinarySearchFunc(pins, in.Key, func(p api.Pin, key string) int { return strings.Compare(p.Key, key) })
		if found {
			pins[i] = api.Pin{Key: in.Key, Nodes: in.Nodes, Homes: in.Homes, By: by}
		}
	}
}
