package config

import (
	"crypto/tls"
	"net/netip"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"

	"roost"
)

// admin is how operators reach the balancer, as read.
type admin struct {
	at     value
	listen value
	parsed address
	socket value
	token  value
}

// read declares the settings of the admin listener and socket. State is read before.
func (a *admin) read(d *decoder, v value, cfg *roost.Config) {
	if a.at = v; v.written() && v.n.Kind == yaml.ScalarNode && !isNull(v.n) {
		if text, ok := d.text(v); ok && text != off {
			d.wrongKind(v)
		}
		return
	}
	conf := &cfg.Admin
	d.section(v,
		setting{name: "listen", kind: "host:port, :port or [v6]:port, or off", def: "127.0.0.1:7070", read: func(v value) { a.readListen(d, v) },
			doc: "Where operators and their programs ask over TCP. Every request needs the bearer token, but for `/healthz` and `/readyz`. Loopback, because whoever holds the token may change everything; beyond it only with `tls`."},
		setting{name: "tls", kind: "a block of settings, as in { cert: FILE, key: FILE }", nested: true, read: func(v value) {
			if t := (roost.TLS{MinVersion: tls.VersionTLS12}); v.written() || d.asked != nil {
				if d.readCertificate(v, &t); len(t.Certificates) > 0 {
					conf.TLS = &t
				}
			}
		}, doc: "The certificate of the admin listener, read again when it changes. Without one it is clear text, and for this machine alone."},
		setting{name: "names", kind: "hosts", read: func(v value) {
			d.oneOrMore(v, maxList, func(v value) { readAdminName(d, v, conf) })
		}, doc: "What the admin listener may be called in `Host`, beside addresses and `localhost`. Other names are refused, so that no web page reaches it under a name of its own (DNS rebinding)."},
		setting{name: "socket", kind: "file, or off", nested: true, read: func(v value) { a.readSocket(d, v, cfg) },
			doc: "The unix socket that the command line asks; no token is needed there, but the right to open the file. Without it `roost.sock` in the directory for sockets that systemd made (`$RUNTIME_DIRECTORY`), else in `state`; with `state: off` none. It also keeps two balancers from sharing one `state`."},
		setting{name: "token", kind: "file", nested: true, read: func(v value) { a.readToken(d, v, cfg) },
			doc: "The file that holds the bearer token; made at the first start when it is not there. Without it `admin.token` in `state`."},
		d.toggle("open_metrics", "false", &conf.OpenMetrics, "`/metrics` needs no token. Off, because names of pools and nodes tell what runs where."),
	)
	if d.asked == nil && a.parsed.text != "" {
		conf.Address = a.parsed.text
		a.check(d, cfg)
	}
}

func (a *admin) readListen(d *decoder, v value) {
	text, ok := d.text(v)
	if !ok || text == off {
		return
	}
	if name, ok := strings.CutPrefix(text, "unix:"); ok {
		d.fail(v, CodeValue, "write socket: "+clip(name), "the admin listener is TCP; a unix socket has a setting of its own")
		return
	}
	if parsed, ok := d.address(v, text, forListening); ok {
		a.listen, a.parsed = v, parsed
	}
}

func readAdminName(d *decoder, v value, conf *roost.Admin) {
	text, ok := d.text(v)
	if !ok {
		return
	}
	if _, err := netip.ParseAddr(text); err == nil {
		d.fail(v, CodeValue, "leave it out", "addresses are taken anyway")
	} else if at, why := notAHostname(text); why != "" {
		d.fail(v.at(at), CodeValue, "write for example lb.example.com", "%s is not a host: %s", quoted(text), why)
	} else {
		conf.Names = append(conf.Names, strings.TrimSuffix(lowerASCII(text), "."))
	}
}

// readSocket reads where the command line asks. Without a word of it, that is beside what else is kept.
func (a *admin) readSocket(d *decoder, v value, cfg *roost.Config) {
	if d.asked != nil {
		return
	}
	a.socket = v
	name := ""
	switch text, ok := d.text(v); {
	case ok && text == off, !ok && v.written():
		return
	case ok && strings.HasPrefix(text, "unix:"):
		d.fail(v, CodeValue, "write "+clip(text[len("unix:"):]), "this is the path of a file, without unix: before it")
		return
	case ok:
		name = d.fileName(v)
	case cfg.State == "":
		v.say(off)
		return
	default:
		dir := cfg.State
		if d.runtime != "" {
			dir = d.runtime
		}
		name = filepath.Join(dir, socketName)
		if v.say(name); d.flags != nil {
			v.path, v.near = "--admin-socket", nil
		}
	}
	if len(name) > maxUnixPath {
		d.fail(v, CodeRange, "give it a shorter one, or off", "the path of a unix socket has at most %d bytes, and %s has %d", maxUnixPath, name, len(name))
		return
	}
	cfg.Admin.Socket = name
}

func (a *admin) readToken(d *decoder, v value, cfg *roost.Config) {
	if d.asked != nil {
		return
	}
	if a.token = v; v.written() {
		cfg.Admin.Token = d.fileName(v)
	} else if cfg.State != "" {
		cfg.Admin.Token = filepath.Join(cfg.State, tokenName)
		v.say(cfg.Admin.Token)
	}
}

// check compares what the parts of a TCP listener say: who can reach it must have to prove who it is, unread by others.
func (a *admin) check(d *decoder, cfg *roost.Config) {
	if !a.parsed.local() && cfg.Admin.TLS == nil && !d.failedIn(value{path: join(a.at.path, "tls")}) {
		fix := "give admin.tls a certificate, or write for example 127.0.0.1:7070"
		if d.flags != nil {
			fix = "write for example 127.0.0.1:7070, or use a file, where admin.tls can give it a certificate"
		}
		d.fail(a.listen, CodeForbidden, fix, "%s can be reached from other machines, which would read the token: clear text is for loopback only", a.parsed.text)
	}
	if cfg.State == "" && !a.token.written() && !d.failedIn(value{path: "state"}) {
		fix := "give admin.token a file, or write admin.listen: off"
		if d.flags != nil {
			fix = "give --admin off too"
		}
		d.fail(a.listen, CodeConflict, fix, "with state: off there is no file for the admin listener's token, so nobody could use it")
	}
}
