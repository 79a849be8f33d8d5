package config

import (
	"path/filepath"

	"roost"
)

// draft is a configuration as read: names are not resolved, and what belongs together is not yet compared.
type draft struct {
	at        value // the whole of it
	routesAt  value
	cfg       roost.Config
	listeners []*listener
	routes    []*rule
	pools     []*pool
	tls       roost.TLS
	tlsAt     value

	stateAt value
	admin   admin
}

const (
	// maxListeners bounds listening sockets: beside each other they only share the same connections.
	maxListeners = 256
	// maxRoutes bounds what a request pays: it looks at the routes of its listener one after another.
	maxRoutes = 1000
	// maxPools bounds tables, of which each takes memory: 64 KiB and more.
	maxPools = 4096
	// maxLoops bounds threads, and the sockets of each listener, of which every loop has one: a typing error must not make
	// thousands.
	maxLoops = 256
	// maxList bounds lists that nobody writes long: methods, networks, files.
	maxList = 1000
)

// root declares the settings of the whole file.
func (d *decoder) root(v value) *draft {
	f := &draft{at: v}
	var version string
	d.section(v,
		choice(d, "version", "1", []string{"1"}, []string{"1"}, &version, "Format of the file. A format that reads old files differently will have a higher number, so that no file is ever misread."),
		d.named("cluster", "roost", &f.cfg.Cluster, "Name of the cluster. The key of the hash that places keys is derived from it: balancers that share a name place alike. Whoever knows it can find keys that share a node, so give your own where clients are hostile."),
		setting{name: "listeners", kind: "listeners by name", nested: true, read: func(v value) { f.readListeners(d, v) },
			doc: "Where traffic comes in. Without any there is one, `web`, on `:8080`."},
		setting{name: "routes", kind: "list of routes", nested: true, read: func(v value) { f.readRoutes(d, v) },
			doc: "What the key of a request is, and which pool it goes to. The first that matches wins. With one pool they can be left out: then its keys are whole paths, on every listener."},
		setting{name: "pools", kind: "pools by name", nested: true, read: func(v value) { f.readPools(d, v) },
			doc: "Who serves. A pool is a set of nodes that share one table and one policy."},
		setting{name: "state", kind: "directory, or off", nested: true, read: func(v value) { f.readState(d, v) },
			doc: "Where what must last is kept: the database, the admin token, and the socket for operators. Without it the directory that systemd made for state (`$STATE_DIRECTORY`), else `/var/lib/roost` for root, `$XDG_STATE_HOME/roost` or `~/.local/state/roost` for others. `off` keeps nothing."},
		setting{name: "store", kind: "sqlite, memory, or the path of a database", nested: true, read: func(v value) { f.readStore(d, v) },
			doc: "What keeps nodes, weights, pins and the like that come through the API, and the last tables. `sqlite`, the default, is the file `roost.db` in `state`; `memory`, the default with `state: off`, forgets them when the process ends."},
		choice(d, "engine", "auto", []string{"auto", "reactor", "std"}, []string{"auto", "reactor", "std"}, &f.cfg.Engine,
			"What carries traffic. `reactor`: event loops, for Linux, with the least CPU and memory; what loops cannot do, such as HTTP/2, it passes on to `std`. `std`: a goroutine for each connection, on every system. `auto`: `reactor` where there is one. A change takes effect at the next start or `roost upgrade`."),
		d.count("loops", "0", 0, maxLoops, &f.cfg.Loops, "Event loops of the engine `reactor`, each a thread with its share of all connections. 0: as many as there are CPUs for the process, by its affinity and the quota of its container. A change takes effect at the next start or `roost upgrade`."),
		setting{name: "admin", kind: "off, or a block of settings", nested: true, read: func(v value) { f.admin.read(d, v, &f.cfg) },
			doc: "For operators and their programs: health, readiness, metrics, and the API that the command line uses. `off` leaves out both listener and socket."},
		setting{name: "log", kind: "a block of settings", nested: true, read: func(v value) { f.readLog(d, v) },
			doc: "What is logged, and where. Operators' lines go to stderr."},
		setting{name: "tls", kind: "a block of settings", nested: true, read: func(v value) { f.tlsAt = v; d.readTLS(v, &f.tls) },
			doc: "Certificates of the listeners that say `tls: true`."},
	)
	return f
}

func (f *draft) readLog(d *decoder, v value) {
	d.section(v,
		choice(d, "level", "info", []string{"debug", "info", "warn", "error"}, []string{"debug", "info", "warn", "error"}, &f.cfg.Log.Level,
			"The least important lines that are written. `info` has one line for each change of state and none for each request."),
		choice(d, "format", "text", []string{"text", "json"}, []string{"text", "json"}, &f.cfg.Log.Format, "`text` is for eyes, `json` for programs."),
		setting{name: "access", kind: "off, stdout, or a file", def: "off", read: func(v value) { f.readAccess(d, v) },
			doc: "One JSON line for each request. Off, because at high rates it is the largest part of all writing."},
	)
}

func (f *draft) readAccess(d *decoder, v value) {
	text, ok := d.text(v)
	if !ok {
		return
	}
	switch text {
	case "off", "stdout":
		f.cfg.Log.Access = text
	case "":
		d.fail(v, CodeValue, "", "the file has no name")
	default:
		file := d.path(text)
		if info, err := d.stat(filepath.Dir(file)); err != nil {
			d.fail(v, CodeFile, "", "the access log cannot be written: %v", err)
		} else if !info.IsDir() {
			d.fail(v, CodeFile, "", "the access log cannot be written: %s is not a directory", filepath.Dir(file))
		}
		f.cfg.Log.Access = file
		v.say(file)
	}
}
