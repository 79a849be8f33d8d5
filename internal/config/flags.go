package config

import (
	"crypto/sha256"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v4"

	"roost"
)

// Flags stand for a configuration with one route and one pool. The zero value of each means that the flag was not given.
type Flags struct {
	Listen    []string // --listen: addresses
	TCP       bool     // --tcp: listeners pass raw connections
	Nodes     []string // --nodes, split: [NAME=]ADDRESS[*WEIGHT] each
	Homes     int      // --homes
	HomesSet  bool     // --homes was given; then 0 is an error, not the default
	Key       string   // --key: as in a file
	OnMissing string   // --on-missing-key: balance, reject or client_ip
	Health    string   // --health: a path, tcp or none
	Protocol  string   // --protocol: auto, http1 or h2c
	TLSCert   string   // --tls-cert and --tls-key: for all of Listen
	TLSKey    string
	State     string // --state: a directory or off
	Store     string // --store: sqlite, memory or a file
	Engine    string // --engine: auto, reactor or std
	Loops     int    // --loops
	Admin     string // --admin: an address or off
	Socket    string // --admin-socket: a file or off
	Access    string // --access-log: off, stdout or a file
	LogLevel  string // --log-level
	LogFormat string // --log-format
}

// origin is where a node comes from when there is no file.
type origin struct {
	name  string
	typed bool // the node is what stands behind the flag, not what the file would have around it
}

// FromFlags makes a configuration of flags. It builds the file that says the same and reads that, so flags and files
// cannot differ in what they mean or refuse; diagnostics name the flag and point into its value.
func FromFlags(f Flags) (*roost.Config, Diagnostics) {
	w := realWorld("")
	w.env = nil // the shell has replaced variables
	return fromFlags(f, w)
}

func fromFlags(f Flags, w world) (*roost.Config, Diagnostics) {
	d := &decoder{world: w, left: maxValues, room: maxText, source: roost.Source{Kind: "flag"}, digest: sha256.New(), flags: map[*yaml.Node]origin{}}
	fmt.Fprintf(d.digest, "%#v", f)
	if (f.TLSCert == "") != (f.TLSKey == "") {
		given, missing := "--tls-cert", "--tls-key"
		if f.TLSCert == "" {
			given, missing = missing, given
		}
		d.add(Diagnostic{Code: CodeMissing, Path: given, Message: "needs " + missing + " beside it"})
		f.TLSCert, f.TLSKey = "", ""
	}
	return d.config(d.document(f))
}

// document builds the nodes of the file that says what f says.
func (d *decoder) document(f Flags) *yaml.Node {
	text := func(name, s string) *yaml.Node {
		n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
		d.flags[n] = origin{name, true}
		return n
	}
	optional := func(name, s string) *yaml.Node {
		if s == "" {
			return nil
		}
		return text(name, s)
	}
	entry := func(m *yaml.Node, key string, val *yaml.Node) {
		k := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}
		d.flags[k] = origin{d.flags[m].name, false}
		m.Content = append(m.Content, k, val)
	}
	block := func(name string, pairs ...any) *yaml.Node {
		m := &yaml.Node{Kind: yaml.MappingNode}
		d.flags[m] = origin{name, false}
		for i := 0; i < len(pairs); i += 2 {
			if n := pairs[i+1].(*yaml.Node); n != nil {
				entry(m, pairs[i].(string), n)
			}
		}
		return m
	}
	list := func(name string, items ...*yaml.Node) *yaml.Node {
		l := &yaml.Node{Kind: yaml.SequenceNode, Content: items}
		d.flags[l] = origin{name, false}
		return l
	}

	listeners := block("--listen")
	if len(f.Listen) == 0 {
		f.Listen = []string{":8080"}
	}
	protocol := func() *yaml.Node {
		if !f.TCP {
			return nil
		}
		return text("--tcp", "tcp")
	}
	for i, address := range f.Listen {
		name := "web"
		if i > 0 {
			name += strconv.Itoa(i + 1)
		}
		entry(listeners, name, block("--listen", "protocol", protocol(), "address", text("--listen", address), "tls", text("--tls-cert", strconv.FormatBool(f.TLSCert != ""))))
	}
	nodes := list("--nodes")
	for _, n := range f.Nodes {
		nodes.Content = append(nodes.Content, text("--nodes", n))
	}
	var homes, loops, certificates *yaml.Node
	if f.Loops != 0 {
		loops = text("--loops", strconv.Itoa(f.Loops))
	}
	if f.HomesSet || f.Homes != 0 {
		homes = text("--homes", strconv.Itoa(f.Homes))
	}
	if f.TLSCert != "" {
		certificates = list("--tls-cert", block("--tls-cert", "cert", text("--tls-cert", f.TLSCert), "key", text("--tls-key", f.TLSKey)))
	}
	return block("",
		"listeners", listeners,
		"routes", list("--key", block("--key", "name", text("", "default"), "key", optional("--key", f.Key), "on_missing_key", optional("--on-missing-key", f.OnMissing))),
		"pools", block("--nodes", "default", block("--nodes", "nodes", nodes, "homes", homes, "protocol", optional("--protocol", f.Protocol),
			"health", block("--health", "probe", optional("--health", f.Health)))),
		"state", optional("--state", f.State),
		"store", optional("--store", f.Store),
		"engine", optional("--engine", f.Engine),
		"loops", loops,
		"admin", block("--admin", "listen", optional("--admin", f.Admin), "socket", optional("--admin-socket", f.Socket)),
		"log", block("--log-level", "level", optional("--log-level", f.LogLevel), "format", optional("--log-format", f.LogFormat), "access", optional("--access-log", f.Access)),
		"tls", block("--tls-cert", "certificates", certificates),
	)
}
