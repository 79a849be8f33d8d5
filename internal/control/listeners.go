package control

import (
	"net"
	"net/netip"

	"roost"
)

// views makes the views of the listeners, each in the place of its id. The routes are the configuration's own: others know
// them by address. A listener that is out of the configuration stays, retired, for the connections it may still have.
// Those follow the routes of whichever listener its address went to, as from ":80" to "10.0.0.1:80".
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
			views[i] = retire(old[i], cfg.Listeners, refs)
		}
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		views[l.ID] = roost.ListenerView{Name: l.Name, Address: l.Address, Settings: l.Settings, Routes: l.Routes, Want: l.Want, Hello: l.Hello}
	}
	return views
}

// retire makes the view of a listener that is out of the configuration: as it was, with its routes to where their pools
// are now, or with those of its heir. The routes of a pool that is gone are gone.
func retire(v roost.ListenerView, now []roost.Listener, refs map[roost.PoolID]roost.PoolRef) roost.ListenerView {
	v.Retired = true
	for i := range now {
		if heir := &now[i]; overlap(heir.Address, v.Address) && heir.Settings.Protocol == v.Settings.Protocol {
			v.Routes, v.Want, v.Hello = heir.Routes, heir.Want, heir.Hello
			return v
		}
	}
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
	v.Routes = routes
	return v
}

// overlap tells whether a client may reach either address by the same one.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && portA != "0" && (hostA == hostB || everywhere(hostA) || everywhere(hostB))
}

// everywhere tells whether a host to listen on is every interface.
func everywhere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.Unmap().IsUnspecified()
}
