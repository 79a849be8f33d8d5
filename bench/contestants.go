package main

import "strings"

// contestant is a proxy that can be measured.
type contestant struct {
	name  string
	peer  bool // Roost is compared with it
	tuned bool // a variant that runs only in cases that ask for it
	asked bool // runs only when -only names it
	bin   string
	ask   []string // arguments that make it say its version and what it can do
	// start says how to run it: arguments, files to write before (by path), and environment.
	start func(s setup) (args []string, files map[string]string, env []string)
	// lacks says what it cannot do of a case, by what it said of itself; "": nothing. Nil: it can do all.
	lacks func(said string, c Case) string
}

// setup is one start of a contestant.
type setup struct {
	name  string
	dir   string // its own, to be removed after
	port  int    // to listen on, on loopback
	nodes []int  // ports of the upstream's servers
	c     Case
	tuned bool
	root  bool // we are root: nginx would change to a user that cannot enter dir
	files int  // descriptors that a process may have, at most
	said  string
	tls   certificate
}

// conns is how many connections of clients the proxy must take, or may.
func (s setup) conns() int {
	if s.c.Limit > 0 {
		return s.c.Limit
	}
	return max(ready, s.c.Conns+ready/4)
}

// contestants in their order within a round. Roost has its default engine, or the one behind the dash.
var contestants = []contestant{
	{name: "haproxy", peer: true, bin: "haproxy", ask: []string{"-v"}, start: haproxy},
	{name: "haproxy-tuned", peer: true, tuned: true, bin: "haproxy", ask: []string{"-v"}, start: haproxy},
	{name: "nginx", peer: true, bin: "nginx", ask: []string{"-V"}, start: nginx, lacks: nginxLacks},
	{name: "nginx-tuned", peer: true, tuned: true, bin: "nginx", ask: []string{"-V"}, start: nginx, lacks: nginxLacks},
	{name: "roost", bin: "roost", ask: []string{"version"}, start: roost},
	{name: "roost-reactor", asked: true, bin: "roost", ask: []string{"version"}, start: roost},
	{name: "roost-std", asked: true, bin: "roost", ask: []string{"version"}, start: roost},
}

func contestantNames() (names []string) {
	for _, c := range contestants {
		names = append(names, c.name)
	}
	return names
}

// firstLine is what of a program's words is its version.
func firstLine(said string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(said), "\n")
	return line
}
