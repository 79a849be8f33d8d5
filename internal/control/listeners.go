package control

import "roost"

// views makes the views of the listeners, each in the place of its id. The routes are the configuration's own: others know
// them by address. A listener that is out of the configuration stays, retired, for the connections it may still have.
func views(old []roost.ListenerView, cfg *roost.Config) []roost.ListenerView {
	n := len(old)
	for i := range cfg.Listeners {
		n = max(n, int(cfg.Listeners[i].ID)+1)
	}
	views := make([]roost.ListenerView, n)
	refs := make(map[roost.PoolID]roost.PoolRef, len(cfg.Pools))
	for i := range cfg.Pools {
		refs[cfg.Pools[i].ID] = roost.PoolRef(i)
	}
	for i := range old {
		if old[i].Name != "" {
			views[i] = retire(old[i], refs)
		}
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		views[l.ID] = roost.ListenerView{Name: l.Name, Settings: l.Settings, Routes: l.Routes, Want: l.Want}
	}
	return views
}

// retire makes the view of a listener that is out of the configuration: as it was, with its routes to where their pools
// are now. The routes of a pool that is gone are gone.
func retire(v roost.ListenerView, refs map[roost.PoolID]roost.PoolRef) roost.ListenerView {
	routes := make([]*roost.Route, 0, len(v.Routes))
	for _, r := range v.Routes {
		ref, ok := refs[r.PoolID]
		if !ok {
			continue
		}
		if ref != r.Pool { // snapshots before this one go on with the route as it is
			moved := *r
			moved.Pool = ref
			r = &moved
		}
		routes = append(routes, r)
	}
	v.Routes, v.Retired = routes, true
	return v
}
