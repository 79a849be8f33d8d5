package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	"roost"
	"roost/internal/route"
)

// rule is a route as read.
type rule struct {
	at        value // the route
	rt        roost.Route
	name      value
	listeners []reference // none: all
	on        listenerSet // once they are known
	pool      value
	key       value
	http      []reference // what of it only HTTP has
	broken    bool        // something of it could not be read
}

// reference is a name of something else.
type reference struct {
	at   value
	name string
}

func (f *draft) readRoutes(d *decoder, v value) {
	f.routesAt = v
	d.items(v, maxRoutes, func(v value) {
		r := &rule{at: v}
		v.kind = "a block of settings"
		before := len(d.found)
		r.read(d, v)
		r.broken = len(d.found) > before
		f.routes = append(f.routes, r)
	})
}

// read declares the settings of a route.
func (r *rule) read(d *decoder, v value) {
	pathOK := true
	d.section(v,
		setting{name: "name", kind: "name", nested: true, read: func(v value) {
			r.name = v
			if text, ok := d.text(v); ok && d.isName(v, text) {
				r.rt.Name = text
			}
		}, doc: "Name in logs and metrics. Without it a route is called as its pool, with a number when that is taken."},
		setting{name: "match", kind: "a block of settings", nested: true, read: func(v value) { pathOK = r.readMatch(d, v) },
			doc: "Which requests the route takes; every part that is given must hold. Without any it takes all."},
		setting{name: "key", kind: "a key, a block of settings, a list of these, or none", def: "path", nested: true, read: func(v value) { r.key = v; r.readKeys(d, v, pathOK) },
			doc: "What must stay together; see [Keys](#keys). Of a list the first that the request has. `none` leaves all to `on_missing_key`. The whole path, as fnlb does it, because it is there in every request; with listeners of `protocol: tcp` alone the client's address."},
		choice(d, "on_missing_key", "balance", []string{"balance", "reject", "client_ip"}, []roost.OnMissing{roost.MissingBalance, roost.MissingReject, roost.MissingClientIP}, &r.rt.OnMissing,
			"A request without key: `balance` takes the better of two nodes, `reject` answers 400, `client_ip` makes the client's address the key. Balanced, because an answer from any node is better than none."),
		setting{name: "pool", kind: "name of a pool", nested: true, read: func(v value) {
			r.pool = v
			if text, ok := d.text(v); ok {
				r.rt.PoolID = roost.PoolID(text)
			}
		}, doc: "Where its requests go. Can be left out when there is one pool."},
	)
}

// readMatch declares the settings of a match. ok is false when its path is wrong, so that nothing can be said of the
// captures in it.
func (r *rule) readMatch(d *decoder, v value) (ok bool) {
	ok = true
	m := &r.rt.Match
	d.section(v,
		setting{name: "listener", kind: "name of a listener, or a list", read: func(v value) {
			d.oneOrMore(v, maxListeners, func(v value) {
				if name, ok := d.text(v); ok {
					r.listeners = append(r.listeners, reference{v, name})
				}
			})
		}, doc: "Where the request came in. Without it on any."},
		setting{name: "host", kind: "host, or *.host", read: func(v value) {
			if text, ok := d.text(v); ok {
				host, err := route.ParseHost(text)
				if err != nil {
					d.fault(v, CodePattern, err)
				}
				m.Host = host
			}
		}, doc: "The host asked for, without port; with `protocol: tcp` the one of a TLS client (SNI). `*.example.com` is every name below `example.com`, at any depth, but not that name itself."},
		setting{name: "path", kind: "path pattern", read: func(v value) {
			r.http = append(r.http, reference{v, "path"})
			text, written := d.text(v)
			if !written {
				ok = false
				return
			}
			segs, err := route.ParsePattern(text)
			if err != nil {
				d.fault(v, CodePattern, err)
				ok = false
			}
			m.Path, m.Text = segs, text
		}, doc: "`/r/{app}/{fn...}`: `{app}` captures one segment, `{fn...}` the rest. Case and trailing slashes matter. See [Paths](#paths)."},
		setting{name: "methods", kind: "methods", read: func(v value) {
			r.http = append(r.http, reference{v, "methods"})
			d.oneOrMore(v, maxList, func(v value) { r.readMethod(d, v) })
		}, doc: "`GET` takes `HEAD` too."},
		setting{name: "headers", kind: "values by name", nested: true, read: func(v value) {
			if v.written() {
				r.http = append(r.http, reference{v, "headers"})
			}
			d.each(v, "NAME", roost.MaxWant, func(key, v value) { r.readField(d, key, v) })
		}, doc: "Headers that the request must have, with exactly this value; with an empty value any will do. Of several of one name the first counts."},
	)
	return ok
}

func (r *rule) readMethod(d *decoder, v value) {
	text, ok := d.text(v)
	switch {
	case !ok:
	case !isToken(text):
		d.fail(v, CodeValue, "", "%s is not a method", quoted(text))
	case text != strings.ToUpper(text) && isStandard(strings.ToUpper(text)):
		d.fail(v, CodeValue, "write "+strings.ToUpper(text), "methods are case-sensitive, and %s is none", quoted(text))
	case text == "CONNECT":
		d.fail(v, CodeForbidden, "", "CONNECT is never forwarded")
	default:
		r.rt.Match.Methods = append(r.rt.Match.Methods, text)
	}
}

func isStandard(method string) bool {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT":
		return true
	}
	return false
}

func (r *rule) readField(d *decoder, key, v value) {
	if d.asked != nil {
		return
	}
	name, err := route.ParseField(key.n.Value)
	if err != nil {
		d.fault(key, CodeValue, err)
		return
	}
	m := roost.FieldMatch{Name: name}
	v.sayNull()
	if !isNull(v.n) {
		v.kind = "the header's value, or empty for any"
		var ok bool
		if m.Exact, ok = d.text(v); !ok {
			return
		}
	}
	r.rt.Match.Fields = append(r.rt.Match.Fields, m)
}

// maxKeys bounds the keys of a route: each is tried on every request that lacks those before it.
const maxKeys = 8

// noKey is written where a route has no key: what on_missing_key says goes for all its requests.
const noKey = "none"

func (r *rule) readKeys(d *decoder, v value, pathOK bool) {
	if d.asked != nil {
		r.readKey(d, v, pathOK)
		return
	}
	if v.written() && v.n.Kind == yaml.ScalarNode && v.n.Value == noKey {
		v.say(noKey)
		return
	}
	before := len(d.found)
	d.oneOrMore(v, maxKeys, func(v value) { r.readKey(d, v, pathOK) })
	if len(r.rt.Keys) == 0 && len(d.found) == before && pathOK {
		d.fail(v, CodeMissing, "write none, or leave the setting out for the whole path", "no key is named")
	}
}

// readKey reads a key: a text, or a block that says more of it.
func (r *rule) readKey(d *decoder, v value, pathOK bool) {
	sc := route.Scope{Captures: route.Captures(r.rt.Match.Path)}
	if d.asked == nil && v.n.Kind == yaml.ScalarNode {
		r.addKey(d, v, sc, nil, pathOK)
		return
	}
	var from value
	var regex roost.Matcher
	var verify []route.VerifyKey
	var token value
	if v.written() && v.n.Kind == yaml.MappingNode && v.n.Style&yaml.FlowStyle != 0 && len(v.n.Content) == 2 && isNull(v.n.Content[1]) {
		d.fail(v, CodeKind, fmt.Sprintf(`write "{%s}"`, clip(v.n.Content[0].Value)), "braces without quotes are a block of settings")
		return
	}
	before := len(d.found)
	d.section(v,
		setting{name: "from", kind: "key", must: true, read: func(v value) { from = v },
			doc: "The key itself, as it would stand without the block."},
		setting{name: "regex", kind: "regular expression (RE2)", read: func(v value) {
			if text, ok := d.text(v); ok {
				re, err := route.ParseRegexp(text)
				if err != nil {
					d.fault(v, CodeValue, err)
				}
				regex = re
			}
		}, doc: "Takes a part of it: the first group, or the whole match when it has none. No match, no key."},
		setting{name: "token", kind: "header:NAME, cookie:NAME or query:NAME", read: func(v value) {
			if text, ok := d.text(v); ok {
				op, err := route.ParseToken(text)
				if err != nil {
					d.fault(v, CodeKey, err)
				}
				sc.Token, token = op, v
			}
		}, doc: "Where the JWT of `jwt:CLAIM` is. Without it in `Authorization: Bearer`."},
		setting{name: "verify", kind: "files", read: func(v value) {
			d.oneOrMore(v, maxList, func(v value) { verify = append(verify, d.publicKeys(v)...) })
		}, doc: "Public keys that the JWT is checked with: PEM (keys or certificates) or JWKS. A token that fails has no key. Without it and `secret` the claim is used unverified, so clients choose their key."},
		setting{name: "secret", kind: "file", read: func(v value) { verify = append(verify, d.secret(v)...) },
			doc: "An HMAC secret that the JWT is checked with: the bytes of the file, less one line end behind them. At least 32 bytes (RFC 7518, 3.2)."},
	)
	if d.asked != nil || len(d.found) > before || !from.written() {
		return
	}
	if len(verify) > 0 {
		ks, err := route.NewKeys(verify)
		if err != nil {
			d.fail(v, CodeFile, "", "the JWT cannot be checked: %v", err)
			return
		}
		sc.Verify = ks
	}
	if k := r.addKey(d, from, sc, regex, pathOK); k != nil && (len(verify) > 0 || token.written()) && !usesToken(k) {
		d.fail(from, CodeConflict, "write jwt:CLAIM", "a token is described, but the key is not taken from it")
	}
}

func usesToken(k *roost.KeyProgram) bool {
	for i := range k.Ops {
		if k.Ops[i].From == roost.FromJWT {
			return true
		}
	}
	return false
}

// addKey compiles the text of a key. Nil: it is wrong, or names captures of a path that is wrong.
func (r *rule) addKey(d *decoder, v value, sc route.Scope, regex roost.Matcher, pathOK bool) *roost.KeyProgram {
	text, ok := d.text(v)
	if !ok {
		return nil
	}
	k, err := route.ParseKey(text, sc)
	if se, isSyntax := err.(*route.SyntaxError); isSyntax && se.Got != "" && se.Off > 0 && text[se.Off-1] == '{' {
		if pathOK {
			d.fault(v, CodeCapture, err)
		}
		return nil
	}
	if err != nil {
		d.fault(v, CodeKey, err)
		return nil
	}
	if k.Regexp = regex; regex != nil {
		k.Text += " by regex"
	}
	r.rt.Keys = append(r.rt.Keys, k)
	return &r.rt.Keys[len(r.rt.Keys)-1]
}
