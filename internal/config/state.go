package config

import (
	"path/filepath"
	"strings"
)

// off is written where something is left out altogether.
const off = "off"

// Names of what a balancer keeps in its state directory, unless a setting says otherwise.
const (
	databaseName = "roost.db"
	tokenName    = "admin.token"
	socketName   = "roost.sock"
)

// stateDir says where a balancer keeps what lasts when nobody says where: where systemd made a directory for it, where
// the system's services keep theirs, or where a user's programs do (XDG Base Directory Specification 0.8). "": nowhere.
func stateDir(env func(string) (string, bool), root bool) string {
	if dir := firstDir(env, "STATE_DIRECTORY"); dir != "" {
		return dir
	}
	if root {
		return "/var/lib/roost"
	}
	if dir := firstDir(env, "XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "roost")
	}
	if home := firstDir(env, "HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "roost")
	}
	return ""
}

// firstDir reads a variable that names directories, of which the first counts: systemd names all that a unit has, with
// colons between (systemd.exec(5)). What is not absolute means nothing to the one who reads it.
func firstDir(env func(string) (string, bool), name string) string {
	val, _ := env(name)
	dir, _, _ := strings.Cut(val, ":")
	if !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Clean(dir)
}

// readState reads where the balancer keeps what lasts.
func (f *draft) readState(d *decoder, v value) {
	if d.asked != nil {
		return
	}
	f.stateAt = v
	if !v.written() {
		if f.cfg.State = d.state; f.cfg.State == "" {
			d.fail(v, CodeMissing, "set HOME, or write state: DIRECTORY or state: off", "there is no directory for what must last")
		}
		v.say(f.cfg.State)
		return
	}
	if text, ok := d.text(v); ok && text != off {
		f.cfg.State = d.fileName(v)
	}
}

// readStore reads what keeps the operators' changes.
func (f *draft) readStore(d *decoder, v value) {
	if d.asked != nil {
		return
	}
	text := "sqlite"
	if stateless := f.cfg.State == ""; v.written() {
		var ok bool
		if text, ok = d.text(v); !ok {
			return
		}
		if stateless && text != "memory" && !d.failedIn(f.stateAt) {
			d.fail(v, CodeConflict, "write memory", "with state: off nothing is kept")
			return
		}
	} else if stateless {
		text = "memory"
	}
	switch {
	case text == "memory":
		f.cfg.Store = text
	case text == "sqlite":
		f.cfg.Store = filepath.Join(f.cfg.State, databaseName)
	case strings.Contains(text, "://"):
		d.fail(v, CodeValue, "", "%s is a URL; a store is memory, sqlite or the path of a SQLite database", quoted(text))
	case strings.Contains(text, "/"):
		text = d.path(text)
		f.cfg.Store = text
	default:
		fix := didYouMean(text, []string{"memory", "sqlite"})
		if fix == "" {
			fix = "of a file write the whole path"
		}
		d.fail(v, CodeUnknown, fix, "%s is not memory, sqlite or the path of a database", quoted(text))
	}
	v.say(text)
}
