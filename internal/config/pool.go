package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"roost"
)

// pool is a pool as read.
type pool struct {
	at        value // its name
	conf      roost.Pool
	nodes     []place // of conf.Intent.Nodes, by index
	nodesAt   value
	broken    bool // some nodes could not be read
	linkLocal bool
}

// place is where a node was written, and its address.
type place struct {
	at value
	address
}

func (f *draft) readPools(d *decoder, v value) {
	before := len(d.found)
	d.each(v, "NAME", maxPools, func(key, v value) {
		p := &pool{at: key}
		if d.asked == nil {
			if !d.isName(key, key.n.Value) {
				return
			}
			p.conf.ID = roost.PoolID(key.n.Value)
		}
		v.kind = "a block of settings"
		p.read(d, v)
		f.pools = append(f.pools, p)
	})
	if len(f.pools) == 0 && len(d.found) == before && d.asked == nil {
		d.fail(v, CodeMissing, `write for example "pools: { fn: { nodes: [ \"10.0.0.11:8080\" ] } }"`, "there is no pool to send requests to")
	}
}

// read declares the settings of a pool.
func (p *pool) read(d *decoder, v value) {
	s, in := &p.conf.Settings, &p.conf.Intent
	in.Policy = roost.Policy{Owner: roost.Shared, WalkFloor: roost.DefaultWalkFloor}
	var homes int
	var protocol, proxy value
	d.section(v,
		d.toggle("allow_link_local", "false", &p.linkLocal, "Nodes may have link-local addresses. Cloud machines hand out their credentials there (169.254.169.254), so whoever can name a node could read them."),
		setting{name: "nodes", kind: "list of nodes", nested: true, read: func(v value) {
			before := len(d.found)
			p.nodesAt = v
			d.items(v, roost.MaxNodes, func(v value) { p.readNode(d, v) })
			p.broken = len(d.found) > before
		}, doc: "Where requests go. Each is `[NAME=]ADDRESS[*WEIGHT]`, as in `10.0.0.11:8080`, `[2001:db8::1]:80`, `unix:/run/app.sock` or `big=app.internal:80*2`, or a block. Names are looked up again and again."},
		d.count("homes", strconv.Itoa(roost.DefaultHomes), 1, roost.MaxHomes, &homes, "How many ordered homes a key has, used first to last as its load grows. With three, a key that grows or whose home dies goes to a place that is always the same; spreading every key over three from the start would cost 2.6 times the cold starts."),
		choice(d, "protocol", "auto", []string{"auto", "http1", "h2c", "h2"}, []roost.NodeProtocol{roost.ProtocolAuto, roost.ProtocolHTTP1, roost.ProtocolH2C, roost.ProtocolH2C}, &s.Protocol,
			"What nodes speak: `auto` is HTTP/1.1, but HTTP/2 for gRPC, which exists on nothing else; `h2c` is HTTP/2 with prior knowledge in clear text, `h2` by ALPN under TLS.").noted(&protocol),
		setting{name: "tls", kind: "true, false, or a block of settings", nested: true, read: func(v value) { s.TLS = d.readNodeTLS(v) },
			doc: "Nodes are spoken to under TLS, and so are probes. `true` is a block of defaults: their certificates must be for the hosts of their addresses, and signed by an authority that this machine trusts."},
		choice(d, "send_proxy", "off", []string{"off", "v1", "v2"}, []uint8{0, 1, 2}, &s.SendProxy,
			"Connections to nodes begin with a PROXY header that tells of the client. `v2` also has the host that it asked for, ALPN, the name in its certificate, and what an inbound header said beside the addresses. A connection then speaks for one client, so HTTP ones are not kept open for the next. Off, because a server that expects none refuses it.").noted(&proxy),
		setting{name: "health", kind: "a block of settings, as in { probe: /healthz }", nested: true, read: func(v value) { p.readHealth(d, v) },
			doc: "How nodes are judged. What requests meet counts in any case: failed connections and bursts of 5xx take a node out at once."},
		setting{name: "limits", kind: "a block of settings", nested: true, read: func(v value) { p.readLimits(d, v) },
			doc: "What one node is given, and how long it may take."},
		setting{name: "queue", kind: "a block of settings", nested: true, read: func(v value) {
			d.section(v,
				d.count("length", "128", 0, 1<<16, &s.QueueLen, "Requests that may wait for room when every node is at `limits.in_flight`; the next gets a 503. A longer queue only makes more clients wait for an answer they will not stay for."),
				d.duration("timeout", "5s", 0, time.Hour, &s.QueueTimeout, "How long one waits before it gets a 503. Users leave after a few seconds, and balancers in front give up."),
			)
		}, doc: "Where requests wait when every node is full."},
		setting{name: "retry", kind: "a block of settings", nested: true, read: func(v value) { readRetry(d, v, s) },
			doc: "Which requests are tried again on another node: only what is known not to have started, or may be repeated, and, but for failed connections and a stale idle one, never more than a tenth of all (ten at once from a fresh start)."},
		setting{name: "pins", kind: "pins by key", nested: true, read: func(v value) { p.readPins(d, v) },
			doc: "Keys placed by hand: the text of the key, and its own homes or how many. A pin beats the table."},
	)
	switch word := protocol.n; {
	case word == nil:
	case word.Value == "h2c" && s.TLS != nil:
		d.fail(protocol, CodeConflict, "write h2", "h2c is clear text, and the pool has tls")
	case word.Value == "h2" && s.TLS == nil && !d.failedIn(value{path: join(v.path, "tls")}):
		d.fail(protocol, CodeConflict, "write tls: true, or h2c for clear text", "h2 is agreed on under TLS, and the pool has none")
	}
	if s.SendProxy != 0 && s.Protocol == roost.ProtocolH2C {
		d.fail(proxy, CodeConflict, "write protocol: http1", "connections in HTTP/2 are shared by clients, and a PROXY header speaks for one")
	}
	in.Policy.Homes, p.conf.Health.SendProxy = uint8(homes), s.SendProxy
	p.conf.Health.TLS = s.TLS
	s.AllowLinkLocal, p.conf.Health.AllowLinkLocal = p.linkLocal, p.linkLocal
}

func (p *pool) readLimits(d *decoder, v value) {
	const day = 24 * time.Hour
	s := &p.conf.Settings
	d.section(v,
		setting{name: "in_flight", kind: "whole number, 1 to 1000000, or " + unlimited, def: unlimited, read: func(v value) {
			switch text, ok := d.text(v); {
			case !ok || text == unlimited:
			case text == "0":
				d.fail(v, CodeRange, "write "+unlimited, "0 would let nothing through")
			default:
				s.MaxInFlight, _ = d.number(v, text, 1, 1_000_000)
			}
		}, doc: "Requests at once on one node of weight 1; beyond it they go elsewhere or wait in the queue. Unlimited, because only you know what a node takes; the load bound spreads keys long before."},
		d.duration("connect_timeout", "2s", time.Millisecond, time.Minute, &s.ConnectTimeout, "For a connection to a node. A lost packet is sent again after 1 s (RFC 6298), so one may be lost."),
		d.duration("head_timeout", "60s", time.Millisecond, day, &s.HeadTimeout, "From the end of the request to the head of the answer. Functions that start cold and reports take tens of seconds; most proxies allow 60."),
		d.duration("body_timeout", "60s", time.Millisecond, day, &s.BodyTimeout, "Between two pieces of an answer's body. Event streams send a sign of life every 15 s to 30 s."),
		d.count("idle_connections", "128", 0, 1024, &s.IdleConns, "Connections kept open to one node for the next requests: as many as are commonly busy at once. 0: none is kept."),
		d.duration("idle_timeout", "55s", time.Millisecond, day, &s.IdleTimeout, "How long one is kept without use. Below the 60 s after which many servers close, so that Roost is the one who closes; set it below your nodes' own (Node.js: 5 s)."),
	)
}

// readRetry declares the settings of retries.
func readRetry(d *decoder, v value, s *roost.PoolSettings) {
	body := int64(s.ReplayBody)
	d.section(v,
		d.count("tries", "3", 1, roost.MaxTries, &s.MaxTries, "Nodes that one request may try, the first included. With three dead in a row the pool is at fault, not the node."),
		d.size("body", "64KiB", 0, 1<<20, false, &body, "Bytes of a request body that are held until the answer begins, so that it can be sent again. API calls fit; uploads are not held."),
		d.toggle("on_503", "true", &s.RetryOn503, "A 503 with `Retry-After` is tried elsewhere: the node says that it did not start (fn's \"too busy\")."),
	)
	s.ReplayBody = int(body)
}

// readNode declares the settings of a node. The short form is a text.
func (p *pool) readNode(d *decoder, v value) {
	n, at := roost.Node{Sources: []roost.Source{d.source}}, place{at: v}
	v.kind = "an address or a block of settings"
	if d.asked == nil && v.n.Kind != yaml.MappingNode {
		text, ok := d.text(v)
		if !ok {
			return
		}
		short, a, ok := d.shortNode(v, text)
		if !ok {
			return
		}
		n.ID, n.Weight, at.address = short.ID, short.Weight, a
	} else {
		before, name := len(d.found), ""
		d.section(v,
			setting{name: "address", kind: "host:port, [v6]:port or unix:/path", must: true, read: func(v value) {
				if text, ok := d.text(v); ok {
					at.address, _ = d.address(v, text, forDialling)
					at.at = v
				}
			}, doc: "Where it is."},
			d.named("name", "", &name, "What it is called in the cluster. Its keys follow the name: a node that moves to another address keeps them. Without a name it is its address."),
			setting{name: "weight", kind: fmt.Sprintf("number, %v to %v", minWeight, maxWeight), def: "1", read: func(v value) {
				if text, ok := d.text(v); ok {
					n.Weight, _ = d.weight(v, text)
				}
			}, doc: "Its share of keys and load, beside those of the others."},
			d.named("zone", "", &n.Zone, "Where it stands: a rack, a data centre. Shown, and known to the table."),
		)
		if d.asked != nil || len(d.found) > before {
			return
		}
		n.ID = roost.NodeID(name)
	}
	if roost.Forbidden(at.ip) && !p.linkLocal {
		fix := "allow_link_local: true in the pool allows it"
		if d.flags != nil {
			fix = "a pool in a file can allow it"
		}
		d.fail(at.at, CodeForbidden, fix, "%s is a link-local or metadata address, where machines keep credentials", at.ip)
		return
	}
	if n.Addr = at.text; n.ID == "" {
		n.ID = roost.NodeID(n.Addr)
	}
	p.conf.Intent.Nodes = append(p.conf.Intent.Nodes, n)
	p.nodes = append(p.nodes, at)
}

// readHealth declares the settings of health.
func (p *pool) readHealth(d *decoder, v value) {
	h := &p.conf.Health
	var version, host, expect, timeout value
	d.section(v,
		setting{name: "probe", kind: "tcp, none, or a path", def: "tcp", read: func(v value) {
			switch text, ok := d.text(v); {
			case !ok:
			case text == "tcp":
				h.Kind = roost.HealthTCP
			case text == "none":
				h.Kind = roost.HealthNone
			case !strings.HasPrefix(text, "/"):
				d.fail(v, CodeValue, didYouMean(text, []string{"tcp", "none"}), "%s is not tcp, none or a path such as /healthz", quoted(text))
			case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }):
				d.fail(v, CodeValue, "write it percent-encoded", "%s cannot be requested as it is", quoted(text))
			default:
				h.Kind, h.Path = roost.HealthHTTP, text
			}
		}, doc: "How a node is asked: `tcp` connects, a path such as `/healthz` is requested by GET, `none` judges by requests alone. `tcp`, because it works with every server; a path sees more."},
		setting{name: "host", kind: "host", read: func(v value) {
			if text, ok := d.text(v); ok {
				if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/\?#@`, r) }) || text == "" {
					d.fail(v, CodeValue, "", "%s is not a host", quoted(text))
				}
				h.Host = text
			}
		}, doc: "The Host of the probe. Without it the node's address."}.noted(&host),
		setting{name: "expect", kind: "statuses, such as 200-299, 401", def: "200-299", read: func(v value) {
			d.oneOrMore(v, maxList, func(v value) { p.readExpect(d, v) })
		}, doc: "Answers that are well. Whatever else a health page says, it says that something is wrong."}.noted(&expect),
		setting{name: "min_version", kind: "version, such as 0.0.235", read: func(v value) {
			if text, ok := d.text(v); ok {
				if !isVersion(text) {
					d.fail(v, CodeValue, "write MAJOR.MINOR.PATCH", "%s is not a version", quoted(text))
				}
				h.MinVersion = text
			}
		}, doc: "fnlb's gate: the answer must be JSON whose `version` is at least this. Off, because other servers have none."}.noted(&version),
		d.duration("interval", "2s", 100*time.Millisecond, time.Hour, &h.Interval, "Between two probes of a node. With `fall: 3` a silent node is out after about 6 s, and a probe costs next to nothing."),
		d.duration("timeout", "1s", 10*time.Millisecond, time.Minute, &h.Timeout, "How long a probe may take; not above `interval`, and as short as that by default. A server that needs longer to say that it is well is not.").noted(&timeout),
		d.count("rise", "2", 1, 100, &h.Rise, "Good probes in a row that bring a node back: one may be luck."),
		d.count("fall", "3", 1, 100, &h.Fall, "Failed probes in a row that take a node out: one or two get lost."),
		d.duration("slow_start", "10s", 0, time.Hour, &h.SlowStart, "From a tenth of the weight to all of it, after a return: caches are cold. 0s: at once."),
		d.count("burst", "5", 0, 1000, &h.Burst, "Answers of 500 and above in a row that take a node out at once. 0: never."),
		d.duration("eject", "10s", 0, time.Hour, &h.Eject, "How long such an ejection lasts before probes decide; without probes, before a trial."),
	)
	if d.asked != nil {
		return
	}
	if h.Kind != roost.HealthHTTP {
		for _, v := range []value{host, expect, version} {
			if v.given() {
				d.fail(v, CodeConflict, "probe a path, as in probe: /version", "only a probe of a path has an answer to look at")
			}
		}
		expect.sayNothing()
	}
	switch {
	case h.Timeout <= h.Interval || h.Interval == 0:
	case timeout.given():
		d.fail(timeout, CodeConflict, "", "the timeout %s is above the interval %s: a probe would still run when the next is due", span(h.Timeout), span(h.Interval))
	default:
		h.Timeout = h.Interval
		timeout.say(span(h.Timeout))
	}
}

func (p *pool) readExpect(d *decoder, v value) {
	text, ok := d.text(v)
	if !ok {
		return
	}
	off := 0
	for part := range strings.SplitSeq(text, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			hi = lo
		}
		from, err1 := strconv.Atoi(lo)
		to, err2 := strconv.Atoi(hi)
		if err1 != nil || err2 != nil || from < 100 || to > 599 || from > to {
			d.fail(v.at(off), CodeValue, "write for example 200, 200-299 or 200,401", "%s is not a range of statuses", quoted(strings.TrimSpace(part)))
			return
		}
		p.conf.Health.Expect = append(p.conf.Health.Expect, [2]int{from, to})
		off += len(part) + 1
	}
}

// isVersion reports whether s is a version of semver.org 2.0.0, by the expression given there.
func isVersion(s string) bool {
	const id = `(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)`
	return regexp.MustCompile(`^v?(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-` + id + `(?:\.` + id + `)*)?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?$`).MatchString(s)
}

// readPins declares the settings of pins.
func (p *pool) readPins(d *decoder, v value) {
	d.each(v, "KEY", maxPins, func(key, v value) {
		var pin roost.PinIntent
		var homes int
		var homesAt value
		v.kind = "a block of settings"
		before := len(d.found)
		d.section(v,
			setting{name: "nodes", kind: "names of nodes", read: func(v value) {
				d.oneOrMore(v, maxPinHomes, func(v value) {
					text, ok := d.text(v)
					if !ok {
						return
					}
					id := p.nodeID(d, v, text)
					if id != "" && slices.Contains(pin.Nodes, id) {
						d.fail(v, CodeDuplicate, "", "node %s is there twice", quoted(text))
					}
					pin.Nodes = append(pin.Nodes, id)
				})
			}, doc: "Its homes, best first: names of nodes, or the addresses of those without a name."},
			setting{name: "homes", kind: fmt.Sprintf("whole number, 1 to %d", maxPinHomes), read: func(v value) {
				homesAt = v
				if text, ok := d.text(v); ok {
					homes, _ = d.number(v, text, 1, maxPinHomes)
				}
			}, doc: "How many homes it has, along its own order of nodes. More than a pool's, for a key that is too large for them."},
		)
		if d.asked != nil || len(d.found) > before {
			return
		}
		switch {
		case key.n.Value == "" || len(key.n.Value) > roost.MaxKey:
			d.fail(key, CodeValue, "", "a key has 1 to %d bytes", roost.MaxKey)
		case len(pin.Nodes) == 0 && homes == 0:
			d.fail(key, CodeMissing, "write homes: NUMBER or nodes: [ NAME ]", "the pin says nothing")
		case len(pin.Nodes) > 0 && homes > 0:
			d.fail(homesAt, CodeConflict, "leave one of them out", "a pin has either nodes or a number of homes")
		}
		pin.Key, pin.Homes = key.n.Value, uint8(homes)
		p.conf.Intent.Pins = append(p.conf.Intent.Pins, pin)
	})
}

const (
	// maxPinHomes bounds the homes of one key: a key that keeps 64 nodes busy is a pool of its own.
	maxPinHomes = 64
	// maxPins bounds what is placed by hand: more is a job for another pool.
	maxPins = 10_000
)

// nodeID finds the node that a pin names. Nodes are read before pins.
func (p *pool) nodeID(d *decoder, v value, id string) roost.NodeID {
	var known []string
	for i := range p.conf.Intent.Nodes {
		n := &p.conf.Intent.Nodes[i]
		if string(n.ID) == id || n.Addr == lowerASCII(id) {
			return n.ID
		}
		known = append(known, string(n.ID))
	}
	if p.broken {
		return ""
	}
	d.fail(v, CodeNode, didYouMean(id, known), "the pool has no node %s", quoted(id))
	return ""
}
