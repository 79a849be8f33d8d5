package serve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"roost"
)

// maxChanges bounds the lines of one answer: whoever changes a thousand nodes wants to know that, not read it.
const maxChanges = 200

// part is a part of a configuration that has a name, and what is set in it.
type part struct {
	name     string
	settings []setting
}

type setting struct{ name, value string }

// settings makes them of names and values in turn. Names are those of the configuration file.
func settings(pairs ...any) []setting {
	s := make([]setting, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		value := fmt.Sprint(pairs[i+1])
		if value == "" || value == "[]" {
			value = "none"
		}
		s = append(s, setting{pairs[i].(string), value})
	}
	return s
}

// changes says in a line each what differs between two configurations: what is gone, what is new, and what is set
// otherwise.
func changes(was, now *roost.Config) []string {
	before, after := map[string]part{}, map[string]bool{}
	for _, p := range parts(was) {
		before[p.name] = p
	}
	var lines []string
	for _, p := range parts(now) {
		after[p.name] = true
		old, known := before[p.name]
		if !known {
			lines = append(lines, p.name+": added")
			continue
		}
		for i, s := range p.settings {
			if o := old.settings[i]; o != s {
				lines = append(lines, fmt.Sprintf("%s: %s %s → %s", p.name, s.name, o.value, s.value))
			}
		}
	}
	if !sameOrder(routeNames(was), routeNames(now)) {
		lines = append(lines, "routes: they are tried in another order")
	}
	for _, p := range parts(was) {
		if !after[p.name] {
			lines = append(lines, p.name+": removed")
		}
	}
	if more := len(lines) - maxChanges; more > 0 {
		lines = append(lines[:maxChanges], fmt.Sprintf("and %d more", more))
	}
	return lines
}

func routeNames(c *roost.Config) (names []string) {
	for _, r := range c.Routes {
		names = append(names, r.Name)
	}
	return names
}

// sameOrder tells whether what both lists hold stands in the same order in both.
func sameOrder(a, b []string) bool {
	in := func(list []string) func(string) bool {
		return func(s string) bool { return !slices.Contains(list, s) }
	}
	return slices.Equal(slices.DeleteFunc(slices.Clone(a), in(b)), slices.DeleteFunc(slices.Clone(b), in(a)))
}

// parts lists a configuration's parts. A listener is its address, as for sockets.
func parts(c *roost.Config) []part {
	ps := []part{{"cluster", settings("name", c.Cluster)}, {"process", settings("engine", c.Engine, "loops", c.Loops)}}
	on := map[string][]string{} // listeners by the route that they take
	for i := range c.Listeners {
		l := &c.Listeners[i]
		name := "listener " + l.Address
		if strings.HasSuffix(l.Address, ":0") { // it may be there more than once
			name += " " + l.Name
		}
		ps = append(ps, part{name, append(settings("name", l.Name), append(secured(l.TLS), granted(&l.Settings)...)...)})
		for _, r := range l.Routes {
			on[r.Name] = append(on[r.Name], l.Name)
		}
	}
	for _, r := range c.Routes {
		ps = append(ps, part{"route " + r.Name, matched(r, on[r.Name])})
	}
	for i := range c.Pools {
		ps = append(ps, pooled(&c.Pools[i])...)
	}
	a := &c.Admin
	return append(ps,
		part{"admin", append(settings("listen", a.Address, "socket", a.Socket, "token", a.Token, "names", a.Names, "open_metrics", a.OpenMetrics), secured(a.TLS)...)},
		part{"log", settings("level", c.Log.Level, "format", c.Log.Format, "access", c.Log.Access)})
}

func secured(t *roost.TLS) []setting {
	if t == nil {
		return settings("tls", "off", "tls.certificates", "", "tls.min_version", "", "tls.client_auth", "", "tls.client_ca", "", "tls.ticket_keys", "")
	}
	var files []string
	for _, f := range t.Certificates {
		text := f.Cert + " with " + f.Key
		if f.OCSP != "" {
			text += " and " + f.OCSP
		}
		files = append(files, text)
	}
	return settings("tls", "on", "tls.certificates", strings.Join(files, ", "), "tls.min_version", version(t.MinVersion),
		"tls.client_auth", [...]string{"off", "optional", "required"}[t.ClientAuth], "tls.client_ca", t.ClientCA, "tls.ticket_keys", t.TicketKeys)
}

// nodeSecrecy tells one TLS to nodes from another; what its files hold is told by a digest.
func nodeSecrecy(t *roost.NodeTLS) string {
	if t == nil {
		return "off"
	}
	return fmt.Sprintf("verify %v, server_name %q, min_version %s, files %v", !t.Insecure, t.ServerName, version(t.MinVersion), t.ID)
}

func version(v uint16) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("1.%d", v-0x0301) // crypto/tls counts TLS 1.0 as 0x0301 and up
}

func granted(s *roost.ListenerSettings) []setting {
	return settings("protocol", [...]string{"http", "tcp"}[s.Protocol], "proxy_protocol", s.ProxyProtocol, "limits.connections", s.MaxConns, "limits.head", s.MaxHead, "limits.fields", s.MaxFields, "limits.body", s.MaxBody,
		"limits.head_timeout", s.HeadTimeout, "limits.idle_timeout", s.IdleTimeout, "limits.body_timeout", s.BodyTimeout,
		"limits.send_timeout", s.SendTimeout, "limits.min_body_rate", s.MinBodyRate, "trust", s.Trust, "forwarded", [...]string{"x", "rfc7239", "both", "off"}[s.Forwarded],
		"via", s.Via, "http2", s.HTTP2, "upgrades", s.Upgrades, "debug_header", s.DebugHeader)
}

func matched(r *roost.Route, listeners []string) []setting {
	m := &r.Match
	var fields, keys []string
	for _, f := range m.Fields {
		fields = append(fields, f.Name+"="+f.Exact)
	}
	for i := range r.Keys {
		keys = append(keys, keyText(&r.Keys[i]))
	}
	return settings("listeners", listeners, "match.host", m.Host, "match.path", m.Text, "match.methods", m.Methods, "match.headers", fields,
		"key", strings.Join(keys, ", "), "on_missing_key", r.OnMissing, "pool", r.PoolID)
}

func keyText(k *roost.KeyProgram) string {
	text := k.Text
	if k.Regexp != nil {
		text += fmt.Sprintf(" by %v", k.Regexp)
	}
	for i := range k.Ops {
		if op := &k.Ops[i]; op.From == roost.FromJWT {
			if text += fmt.Sprintf(" of the token in %s%s", op.Field, op.Token.Name); op.Verify == nil {
				text += ", unverified"
			}
		}
	}
	return text
}

func pooled(p *roost.Pool) []part {
	name := "pool " + string(p.ID)
	in, h, s := &p.Intent, &p.Health, &p.Settings
	ps := []part{{name, settings(
		"homes", in.Policy.Homes, "owner", in.Policy.Owner, "hold_for", in.Policy.HoldFor, "walk_floor", in.Policy.WalkFloor,
		"allow_link_local", s.AllowLinkLocal || h.AllowLinkLocal, "protocol", [...]string{"auto", "http1", "h2c"}[s.Protocol],
		"tls", nodeSecrecy(cmp.Or(s.TLS, h.TLS)), "health.probe", [...]string{"tcp", h.Path, "none"}[h.Kind], "health.host", h.Host, "health.expect", h.Expect,
		"health.min_version", h.MinVersion, "health.interval", h.Interval, "health.timeout", h.Timeout, "health.rise", h.Rise,
		"health.fall", h.Fall, "health.slow_start", h.SlowStart, "health.burst", h.Burst, "health.eject", h.Eject,
		"limits.in_flight", s.MaxInFlight, "limits.connect_timeout", s.ConnectTimeout, "limits.head_timeout", s.HeadTimeout,
		"limits.body_timeout", s.BodyTimeout, "limits.idle_connections", s.IdleConns, "limits.idle_timeout", s.IdleTimeout,
		"queue.length", s.QueueLen, "queue.timeout", s.QueueTimeout, "retry.tries", s.MaxTries, "retry.body", s.ReplayBody,
		"retry.on_503", s.RetryOn503, "send_proxy", [...]string{"off", "v1", "v2"}[max(s.SendProxy, h.SendProxy)])}}
	for i := range in.Nodes {
		n := &in.Nodes[i]
		ps = append(ps, part{fmt.Sprintf("%s: node %s", name, n.ID),
			settings("address", n.Addr, "zone", n.Zone, "weight", float64(n.Weight)/roost.WeightOne)})
	}
	for _, pin := range in.Pins {
		ps = append(ps, part{fmt.Sprintf("%s: pin %q", name, pin.Key), settings("nodes", pin.Nodes, "homes", pin.Homes)})
	}
	return ps
}
