package config

import (
	"crypto/tls"
	"time"

	"go.yaml.in/yaml/v4"

	"roost"
	"roost/internal/pki"
)

// listener is a listener as read.
type listener struct {
	at      value // its name
	conf    roost.Listener
	address value
	parsed  address
	shared  value // tls: true; not written when it has its own
	bound   []*roost.Route
	rules   []*rule // of bound, by index
}

func (f *draft) readListeners(d *decoder, v value) {
	before := len(d.found)
	d.each(v, "NAME", maxListeners, func(key, v value) {
		l := &listener{at: key}
		if d.asked == nil {
			if !d.isName(key, key.n.Value) {
				return
			}
			l.conf.Name = key.n.Value
		}
		v.kind = "a block of settings"
		l.read(d, v)
		f.listeners = append(f.listeners, l)
	})
	if len(f.listeners) == 0 && len(d.found) == before && d.asked == nil {
		l := &listener{at: value{near: v.here(), path: v.path}, conf: roost.Listener{Name: "web"}}
		l.read(d, value{near: v.here(), path: join(v.path, "web"), echo: v.echoOf("web")})
		f.listeners = append(f.listeners, l)
	}
}

// read declares the settings of a listener.
func (l *listener) read(d *decoder, v value) {
	s := &l.conf.Settings
	var maxBody int64
	var proxy value
	http := func(s setting) setting { return l.aboutHTTP(d, s) }
	d.section(v,
		choice(d, "protocol", "http", []string{"http", "tcp"}, []roost.ListenProtocol{roost.ServesHTTP, roost.ServesTCP}, &s.Protocol,
			"What clients speak: `tcp` passes bytes both ways, whatever they mean, by a key that is known before; see [TCP](#tcp)."),
		setting{name: "address", kind: "host:port, :port, [v6]:port or unix:/path", def: ":8080", read: func(v value) {
			if text, ok := d.text(v); ok {
				if a, ok := d.address(v, text, forListening); ok {
					l.conf.Address, l.address, l.parsed = a.text, v, a
				}
			}
		}, doc: "Where to listen. `:port` is every interface, IPv4 and IPv6. 8080 needs no privilege."},
		setting{name: "tls", kind: "true, false, or a block of settings", nested: true, read: func(v value) { l.readTLS(d, v) },
			doc: "`true` takes the certificates of the top-level `tls`; a block gives this listener its own. Without it the listener is clear text."},
		d.toggle("proxy_protocol", "false", &s.ProxyProtocol, "Each connection begins with a PROXY header (HAProxy's, version 1 or 2) that tells of the client. It is believed from networks in `trust`; from elsewhere the connection is refused. Off, because what is not sent would be waited for.").noted(&proxy),
		setting{name: "limits", kind: "a block of settings", nested: true, read: func(v value) { d.readLimits(v, s, &maxBody, http) },
			doc: "What one client may take. Each has a bound, so that no client can take all."},
		d.networks("trust", &s.Trust, "Networks whose forwarding headers are believed and appended to, and whose PROXY headers are; from all others they are replaced, because anybody can send them. Empty, because only you know what stands in front."),
		http(choice(d, "forwarded", "x", []string{"x", "rfc7239", "both", "off"}, []roost.Forwarding{roost.ForwardX, roost.ForwardRFC, roost.ForwardBoth, roost.ForwardOff}, &s.Forwarded,
			"Which headers tell nodes of the client: `x` is `X-Forwarded-For`, `-Proto` and `-Host`, which most servers read; `rfc7239` is `Forwarded`; `off` writes none and passes those from trusted networks on.")),
		http(setting{name: "via", kind: "a pseudonym, or off", def: "roost", read: func(v value) { l.readVia(d, v) },
			doc: "The name in the `Via` header, by which loops are found (RFC 9110, 7.6.3). `off` leaves the header out."}),
		http(d.toggle("http2", "true", &s.HTTP2, "HTTP/2: by ALPN on TLS, by its preface in clear text. gRPC needs it.")),
		http(setting{name: "upgrades", kind: "protocols", def: "websocket", read: func(v value) { l.readUpgrades(d, v) },
			doc: "Protocols that a client may switch to (the `Upgrade` header). Only WebSocket, because a tunnel carries what Roost cannot read."}),
		http(d.toggle("debug_header", "false", &s.DebugHeader, "Answers carry `Roost-Node` and `Roost-Why`. Off, because it shows clients what runs inside.")),
	)
	s.MaxBody = maxBody
	if s.ProxyProtocol && len(s.Trust) == 0 && !l.parsed.unix && d.asked == nil && !d.failedIn(v) {
		d.fail(proxy, CodeMissing, "write trust: NETWORK", "nothing says whose PROXY headers are believed")
	}
}

// aboutHTTP is a setting that means nothing to a listener of raw connections: it cannot be given there, and is not shown.
func (l *listener) aboutHTTP(d *decoder, s setting) setting {
	read := s.read
	s.read = func(v value) {
		switch {
		case l.conf.Settings.Protocol == roost.ServesHTTP:
			read(v)
		case v.given():
			d.fail(v, CodeConflict, "leave it out", "%s is about HTTP, and this listener has protocol: tcp", s.name)
		default:
			v.sayNothing()
		}
	}
	return s
}

// readLimits declares what one listener grants its clients.
func (d *decoder) readLimits(v value, s *roost.ListenerSettings, maxBody *int64, http func(setting) setting) {
	const day = 24 * time.Hour
	head := int64(s.MaxHead)
	d.section(v,
		d.count("connections", "10000", 1, 1<<20, &s.MaxConns, "Connections at once; further ones get a 503 and are closed. Each busy one needs two file descriptors, and small machines allow 20,000 to a process."),
		http(d.size("head", "32KiB", 1<<10, 1<<20, false, &head, "Bytes of a request head. Browsers' cookies and tokens fit into 8 KiB to 16 KiB, and nodes rarely take more.")),
		http(d.count("fields", "100", 8, 1000, &s.MaxFields, "Fields in a head. Browsers send 20 to 30; each costs time.")),
		http(d.size("body", unlimited, 1, 1<<40, true, maxBody, "Bytes of a request body; more is answered by 413. Unlimited, because bodies are streamed and never held.")),
		d.duration("head_timeout", "10s", time.Millisecond, time.Hour, &s.HeadTimeout, "From the first byte of a head to its end, however it drips; with `protocol: tcp`, for the bytes that the key is made of. A head is one packet or two; whoever needs longer attacks or has lost the network."),
		http(d.duration("idle_timeout", "60s", time.Millisecond, day, &s.IdleTimeout, "Between two requests on a connection. Browsers come back within a minute or open another one.")),
		http(d.duration("body_timeout", "30s", time.Millisecond, day, &s.BodyTimeout, "Between two pieces of a request body. Mobile networks pause for seconds, and go on.")),
		d.duration("send_timeout", "30s", time.Millisecond, day, &s.SendTimeout, "How long a write to the client may make no progress. As for bodies, the other way."),
		http(d.count("min_body_rate", "240", 0, 1<<20, &s.MinBodyRate, "Bytes a second that a client must send of a request body, and take of an answer. Only time in which Roost waits for the client counts, so event streams may be silent, and `body_timeout` or `send_timeout` in all is forgiven. A byte within each timeout would hold a connection for ever; 240 is what IIS asks for, and less than any modem has. 0: any.")),
	)
	s.MaxHead = int(head)
}

func (l *listener) readTLS(d *decoder, v value) {
	switch {
	case d.asked != nil:
		d.readTLS(v, &roost.TLS{})
	case !v.written() || isNull(v.n):
	case v.n.Kind == yaml.ScalarNode:
		if on, ok := d.boolean(v); ok && on {
			l.shared = v
		}
	default:
		before := len(d.found)
		l.conf.TLS = &roost.TLS{}
		if d.readTLS(v, l.conf.TLS); len(l.conf.TLS.Certificates) == 0 && len(d.found) == before {
			d.fail(v, CodeMissing, "", "TLS needs certificates: [ { cert: FILE, key: FILE } ]")
		}
	}
}

// readTLS declares the settings of TLS, the same at the top and in a listener.
func (d *decoder) readTLS(v value, t *roost.TLS) {
	var auth, ca value
	d.section(v,
		setting{name: "certificates", kind: "list of certificates", nested: true, read: func(v value) {
			d.items(v, maxList, func(v value) { d.readCertificate(v, t) })
		}, doc: "Shown by the name that the client asks for (SNI); without a match the first. Files are read again when they change."},
		choice(d, "min_version", "1.2", []string{"1.2", "1.3"}, []uint16{tls.VersionTLS12, tls.VersionTLS13}, &t.MinVersion,
			"The oldest TLS that is spoken. 1.0 and 1.1 are broken (RFC 8996); 1.3 alone shuts out clients from before 2018."),
		choice(d, "client_auth", "off", []string{"off", "optional", "required"}, []roost.ClientAuth{roost.ClientAuthOff, roost.ClientAuthOptional, roost.ClientAuthRequired}, &t.ClientAuth,
			"Whether clients show a certificate: `optional` asks for one and refuses one that is not good; `required` refuses clients without, too. Then keys can be made of it (`cert:cn`). Off, because browsers without one would ask their users.").noted(&auth),
		setting{name: "client_ca", kind: "files", read: func(v value) {
			ca = v
			d.oneOrMore(v, maxList, func(v value) { d.readAuthorities(v, &t.ClientCA) })
		}, doc: "The authorities that sign clients' certificates, PEM. Read again when they change: who was signed by one that is gone is refused, also with a session from before."},
		setting{name: "ticket_keys", kind: "files", read: func(v value) {
			d.oneOrMore(v, pki.MaxTicketKeys, func(v value) { d.readTicketKey(v, t) })
		}, doc: "Keys of session tickets, 48 or 80 random bytes each, as nginx has them (`openssl rand 80 > ticket.key`): the first encrypts, all decrypt. Balancers that share them resume each other's sessions. To change keys, put the new one second everywhere, then first, and take the old one out a day later. Without them each listener makes its own, and changes them every day."},
	)
	switch {
	case d.asked != nil || d.failedIn(auth) || d.failedIn(ca):
	case t.ClientAuth != roost.ClientAuthOff && len(t.ClientCA) == 0:
		d.fail(auth, CodeMissing, "write client_ca: FILE", "nothing says whose certificates are good")
	case t.ClientAuth == roost.ClientAuthOff && len(t.ClientCA) > 0:
		d.fail(ca, CodeConflict, "write client_auth: required, or optional", "clients are not asked for a certificate")
	}
}

// readAuthorities reads the name of a file of authorities, and checks what is in it.
func (d *decoder) readAuthorities(v value, into *[]string) {
	name := d.fileName(v)
	if name == "" {
		return
	}
	text, err := d.read(name)
	if err == nil {
		_, err = pki.Certificates(text)
	}
	if err != nil {
		d.fail(v, CodeFile, "", "the authorities cannot be used: %v", err)
	}
	*into = append(*into, name)
}

func (d *decoder) readTicketKey(v value, t *roost.TLS) {
	name := d.fileName(v)
	if name == "" {
		return
	}
	text, err := d.read(name)
	if err == nil {
		_, err = pki.TicketKey(text)
	}
	if err != nil {
		d.fail(v, CodeFile, "", "the ticket key cannot be used: %v", err)
	}
	v.remark("the key in the file is not shown")
	t.TicketKeys = append(t.TicketKeys, name)
}

func (d *decoder) readCertificate(v value, t *roost.TLS) {
	var f roost.CertFile
	var cert, key, ocsp value
	v.kind = "a block of settings, as in { cert: FILE, key: FILE }"
	d.section(v,
		setting{name: "cert", kind: "file", must: true, read: func(v value) { cert = v; f.Cert = d.fileName(v) },
			doc: "The certificate and the chain behind it, PEM."},
		setting{name: "key", kind: "file", must: true, read: func(v value) { key = v; f.Key = d.fileName(v) },
			doc: "The private key of the certificate, PEM."},
		setting{name: "ocsp", kind: "file", read: func(v value) { ocsp = v; f.OCSP = d.fileName(v) },
			doc: "A response of the authority that the certificate is good, DER, shown to clients that ask (OCSP stapling). Something else has to fetch it, as in `openssl ocsp -respout`; it is read again when it changes, and left out, with a warning, when it is too old or for another certificate."},
	)
	if f.Cert != "" && f.Key != "" {
		d.checkCertificate(cert, key, ocsp, f)
		t.Certificates = append(t.Certificates, f)
	}
}

// fileName reads the name of a file; "" when it has none.
func (d *decoder) fileName(v value) string {
	text, ok := d.text(v)
	if !ok {
		return ""
	}
	if text == "" {
		d.fail(v, CodeValue, "", "the file has no name")
		return ""
	}
	name := d.path(text)
	v.say(name)
	return name
}

func (l *listener) readVia(d *decoder, v value) {
	text, ok := d.text(v)
	switch {
	case !ok:
	case text == "off":
		l.conf.Settings.Via = ""
	case !isToken(text):
		d.fail(v, CodeValue, "use letters, digits and - _ .", "%s is not a pseudonym", quoted(text))
	default:
		l.conf.Settings.Via = text
	}
}

func (l *listener) readUpgrades(d *decoder, v value) {
	d.oneOrMore(v, maxList, func(v value) {
		text, ok := d.text(v)
		switch {
		case !ok:
		case !isToken(text):
			d.fail(v, CodeValue, "write for example websocket", "%s is not the name of a protocol", quoted(text))
		case text == "h2c" || text == "HTTP/2.0":
			d.fail(v, CodeForbidden, "set http2: true", "HTTP/2 is not reached by an upgrade (RFC 9113, 3.1)")
		default:
			l.conf.Settings.Upgrades = append(l.conf.Settings.Upgrades, lowerASCII(text))
		}
	})
}
