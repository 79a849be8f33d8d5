package config

import (
	"roost"
	"roost/internal/route"
)

// suit reports what of a route its listeners cannot have: paths on raw connections, first bytes in HTTP. A route of raw
// connections alone that names no key has another default.
func (d *decoder) suit(r *rule, takers []*listener) {
	var raw, http *listener
	for _, l := range takers {
		if l.conf.Settings.Protocol == roost.ServesTCP {
			raw = l
		} else {
			http = l
		}
	}
	if raw == nil && http == nil || r.broken {
		return
	}
	if raw != nil && http == nil && !r.key.given() {
		k, err := route.ParseKey("client_ip", route.Scope{})
		if err == nil {
			r.rt.Keys = []roost.KeyProgram{k}
			r.key.say(k.Text)
		}
	}
	if raw != nil {
		for _, part := range r.http {
			d.fail(part.at, CodeConflict, r.apart(), "%s is about HTTP, and listener %s has protocol: tcp", part.name, raw.conf.Name)
		}
	}
	for i := range r.rt.Keys {
		k := &r.rt.Keys[i]
		for j := range k.Ops {
			switch op := &k.Ops[j]; op.From {
			case roost.FromPath, roost.FromCapture, roost.FromSegment, roost.FromMethod, roost.FromQuery, roost.FromField, roost.FromCookie, roost.FromJWT, roost.FromHost:
				if raw != nil {
					d.fail(r.keyed(), CodeConflict, r.instead(op), "the key %s is about HTTP, and listener %s has protocol: tcp", quoted(k.Text), raw.conf.Name)
				}
			case roost.FromBytes:
				if http != nil {
					d.fail(r.keyed(), CodeConflict, r.apart(), "the key %s is about raw connections, and listener %s has protocol: http", quoted(k.Text), http.conf.Name)
				}
			case roost.FromProxyTLV:
				for _, l := range takers {
					if !l.conf.Settings.ProxyProtocol {
						d.fail(r.keyed(), CodeConflict, "write proxy_protocol: true in it", "the key %s is of PROXY headers, and listener %s takes none", quoted(k.Text), l.conf.Name)
						break
					}
				}
			}
		}
	}
}

// keyed is where the route's key stands, or the route when it names none.
func (r *rule) keyed() value {
	if r.key.given() {
		return r.key
	}
	return r.at
}

// apart says how a route gets listeners of one protocol.
func (r *rule) apart() string {
	if len(r.listeners) == 0 {
		return "say which listeners the route is for: match: { listener: NAME }"
	}
	return "make two routes of it"
}

// instead says what raw connections have in a key's place.
func (r *rule) instead(op *roost.KeyOp) string {
	if op.From == roost.FromHost {
		return "write sni"
	}
	if !r.key.given() {
		return r.apart()
	}
	return "there are sni, client_ip, bytes[0:8], bytes_until, proxy_tlv and cert"
}
