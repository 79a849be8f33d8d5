// Package config reads what an operator wrote, a file or flags, and makes the effective configuration of it: defaults
// filled in, routes compiled, everything checked that can be checked before traffic.
//
// Guarantee: a configuration that is returned can be served as it stands, as far as this machine can tell: no unknown
// name, no unreadable certificate, no port used twice. All that is wrong is said at once, each with its place, and what is
// not understood is never skipped.
//
// Trap: reading is not pure. Certificates, keys of tokens and the environment are looked at, so a file that was right may
// be wrong on the next machine.
//
// The settings, their defaults and the reasons for them are declared where they are decoded (root.go, listener.go,
// rule.go, pool.go, state.go, admin.go); docs/CONFIGURATION.md is made from these declarations.
package config

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"roost"
)

// MaxFile bounds a configuration file: a thousand routes and ten thousand nodes take a quarter of it.
const MaxFile = 4 << 20

// readTimeout bounds the wait for a configuration that another process writes into a pipe.
const readTimeout = 10 * time.Second

// Load reads a configuration file. The error says that the file cannot be read; what is wrong inside it is in the
// diagnostics, and then the configuration is nil.
func Load(path string) (*roost.Config, Diagnostics, error) {
	// A pipe may stand there, as of a shell's <(...). One that nobody writes to must not hold up a balancer that runs.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	f.SetReadDeadline(time.Now().Add(readTimeout)) // fails for a file, which does not need it
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	cfg, diags := Parse(path, text)
	return cfg, diags, nil
}

// Parse reads a configuration's text. name stands in the diagnostics; files that the text names are relative to its
// directory.
func Parse(name string, text []byte) (*roost.Config, Diagnostics) {
	return parse(name, text, realWorld(filepath.Dir(name)))
}

// world is what a configuration is checked against.
type world struct {
	dir  string                           // files are relative to it
	env  func(name string) (string, bool) // variables that the text may use; nil: it uses none
	read func(path string) ([]byte, error)
	stat func(path string) (fs.FileInfo, error)
	now  func() time.Time

	state   string // where state is kept when nobody says where; "": nowhere
	runtime string // where sockets are; "": beside the state
}

func realWorld(dir string) world {
	if abs, err := filepath.Abs(dir); err == nil { // else the working directory is gone, and reading files will say so
		dir = abs
	}
	return world{dir: dir, env: os.LookupEnv, read: readSmall, stat: os.Stat, now: time.Now,
		state: stateDir(os.LookupEnv, os.Geteuid() == 0), runtime: firstDir(os.LookupEnv, "RUNTIME_DIRECTORY")}
}

// readSmall reads a certificate or key: none is longer than MaxFile, and a device or pipe must not hold up a start.
func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > MaxFile {
		return nil, fmt.Errorf("%s is not a file of at most %d MiB", path, MaxFile>>20)
	}
	return os.ReadFile(path)
}

func (w *world) path(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(w.dir, name)
}

func parse(name string, text []byte, w world) (*roost.Config, Diagnostics) {
	d := &decoder{world: w, file: name, left: maxValues, room: maxText, source: roost.Source{Kind: "file"}, digest: sha256.New()}
	d.files = []string{w.path(filepath.Base(name))}
	d.digest.Write(text)
	root := d.load(text)
	if root == nil {
		return nil, d.found
	}
	return d.config(root)
}
