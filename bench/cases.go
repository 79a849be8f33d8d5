package main

// Case is one thing that is measured, the same for every contestant.
type Case struct {
	Name  string `json:"name"`
	About string `json:"about"`
	Kind  Kind   `json:"kind,omitempty"`
	Front Front  `json:"front,omitempty"`

	// Pinned gives the proxy one CPU, and load generator and upstream another; else all share all CPUs.
	Pinned  bool    `json:"pinned"`
	Threads int     `json:"threads"` // of the proxy
	Conns   int     `json:"connections"`
	Rate    float64 `json:"rate,omitempty"` // requests per second, open loop; 0: closed loop, as fast as it goes
	// Share sets Rate to this share of what the slowest peer can do in the case named saturation.
	Share float64 `json:"share,omitempty"`
	Path  string  `json:"path"`
	Post  int     `json:"post,omitempty"` // bytes of request body; 0: a GET
	// PerRequest opens a connection for each request and closes it after.
	PerRequest bool `json:"per_request,omitempty"`
	// Upgrade asks for a WebSocket instead of a body.
	Upgrade bool `json:"upgrade,omitempty"`
	// Slow is how many clients send a request head a byte a second meanwhile.
	Slow int `json:"slow,omitempty"`
	// Limit is how many clients' connections the proxy is told to take at once; 0: as many as any other case needs.
	Limit int `json:"limit,omitempty"`
	// Tuned also runs the peers' tuned variants, where their defaults are known to cost them.
	Tuned bool `json:"-"`
	Goal  Goal `json:"goal"`
}

// Kind is how a case is measured.
type Kind string

const (
	Loaded  Kind = ""      // requests, counted and timed
	Idle    Kind = "idle"  // Conns connections that do nothing after one exchange: what they cost in memory
	Slow    Kind = "slow"  // as Loaded, twice: alone, and beside Slow clients that never finish a head
	Flooded Kind = "flood" // Conns connections where only Limit are taken
)

// Front is what clients speak to the proxy. To the nodes it is HTTP/1.1 or, in a relay, what clients say.
type Front string

const (
	HTTP  Front = ""
	TLS   Front = "tls" // HTTP/1.1 in TLS 1.3, ended by the proxy
	Relay Front = "tcp" // any bytes; the key is the client's address
)

// Goal is what Roost must reach in a case, and what it aims at; zero: nothing was set.
type Goal struct {
	Of   Figure  `json:"of,omitempty"`
	Must float64 `json:"must,omitempty"`
	Aim  float64 `json:"aim,omitempty"`
}

// Figure is what of a sample is judged. All are ratios to the better peer, except for memory, which is in KiB.
type Figure string

const (
	CPU    Figure = ""
	P99    Figure = "p99"
	Memory Figure = "memory"
)

// The upstream's paths.
const (
	pathSmall = "/s"    // 100 B
	path32K   = "/32k"  // 32 KiB: two TLS records of the largest size
	path64K   = "/64k"  // 64 KiB
	path1M    = "/1m"   // 1 MiB
	pathHead  = "/head" // the request head as it arrived
	pathEcho  = "/echo" // switches to a tunnel that returns what it gets
)

// bodySize is the length of the body that the upstream answers on a path.
func bodySize(path string) int {
	switch path {
	case path32K:
		return 32 << 10
	case path64K:
		return 64 << 10
	case path1M:
		return maxBody
	}
	return 100
}

const (
	// nodes is how many servers the upstream is.
	nodes = 4
	// maxBody is the largest body either way.
	maxBody = 1 << 20
	// saturation names the case that says how much each contestant can do at most.
	saturation = "2core-c64"
	// idleConns is enough for a share of a page per connection to be seen, and two descriptors each fit into 20,000.
	idleConns = 4000
	// slowConns is a crowd that any one machine can make; each costs the proxy one descriptor.
	slowConns = 10_000
	// floodLimit is what a flood runs into.
	floodLimit = 8000
	// ready is what a case without a limit of its own needs at most, with room for checks.
	ready = 4096
)

var cases = []Case{
	{Name: "small-c64", About: "100 B keep-alive GET, 64 connections, one core", Pinned: true, Threads: 1, Conns: 64, Path: pathSmall,
		Goal: Goal{CPU, 0.75, 0.60}},
	{Name: "small-c512", About: "100 B keep-alive GET, 512 connections, one core", Pinned: true, Threads: 1, Conns: 512, Path: pathSmall,
		Goal: Goal{CPU, 0.75, 0.60}},
	{Name: saturation, About: "100 B keep-alive GET, 64 connections, two cores shared by all", Threads: 2, Conns: 64, Path: pathSmall},
	{Name: "open-2k", About: "100 B GET at 2,000 req/s, two cores shared by all", Threads: 2, Conns: 64, Rate: 2000, Path: pathSmall,
		Goal: Goal{CPU, 0.90, 0.70}},
	{Name: "open-10k", About: "100 B GET at 10,000 req/s, two cores shared by all", Threads: 2, Conns: 64, Rate: 10000, Path: pathSmall,
		Goal: Goal{CPU, 0.90, 0.70}},
	{Name: "64k", About: "64 KiB keep-alive GET, 64 connections, one core", Pinned: true, Threads: 1, Conns: 64, Path: path64K, Tuned: true,
		Goal: Goal{CPU, 0.80, 0.60}},
	{Name: "1m", About: "1 MiB keep-alive GET, 32 connections, one core", Pinned: true, Threads: 1, Conns: 32, Path: path1M, Tuned: true,
		Goal: Goal{CPU, 0.80, 0.60}},
	{Name: "post16k", About: "16 KiB keep-alive POST, 64 connections, one core", Pinned: true, Threads: 1, Conns: 64, Path: pathSmall,
		Post: 16 << 10, Goal: Goal{CPU, 0.75, 0.60}},
	{Name: "connperreq", About: "a connection per 100 B GET, 64 at once, one core", Pinned: true, Threads: 1, Conns: 64, Path: pathSmall,
		PerRequest: true, Goal: Goal{CPU, 1, 0.85}},

	{Name: "tcp-small", About: "100 B answers through a TCP relay, 64 connections, one core", Front: Relay, Pinned: true, Threads: 1,
		Conns: 64, Path: pathSmall, Goal: Goal{CPU, 1.05, 1}},
	{Name: "tcp-1m", About: "1 MiB answers through a TCP relay, 32 connections, one core", Front: Relay, Pinned: true, Threads: 1,
		Conns: 32, Path: path1M, Tuned: true, Goal: Goal{CPU, 0.80, 0.60}},

	{Name: "tls-c32", About: "100 B keep-alive GET over TLS 1.3, 32 connections, one core", Front: TLS, Pinned: true, Threads: 1,
		Conns: 32, Path: pathSmall, Goal: Goal{CPU, 0.90, 0.70}},
	{Name: "tls-1m", About: "1 MiB keep-alive GET over TLS 1.3, 16 connections, one core", Front: TLS, Pinned: true, Threads: 1,
		Conns: 16, Path: path1M, Tuned: true, Goal: Goal{CPU, 0.90, 0.70}},
	{Name: "tls-handshake", About: "a full TLS 1.3 handshake (P-256) per 100 B GET, 32 at once, one core", Front: TLS, Pinned: true,
		Threads: 1, Conns: 32, Path: pathSmall, PerRequest: true, Goal: Goal{CPU, 1.20, 1}},

	{Name: "p99-25", About: "100 B GET at 25 % of the slowest peer's saturation, two cores shared by all", Threads: 2, Conns: 64,
		Share: 0.25, Path: pathSmall, Goal: Goal{P99, 1.10, 0.90}},
	{Name: "p99-50", About: "100 B GET at 50 % of the slowest peer's saturation, two cores shared by all", Threads: 2, Conns: 64,
		Share: 0.50, Path: pathSmall, Goal: Goal{P99, 1.10, 0.90}},
	{Name: "p99-75", About: "100 B GET at 75 % of the slowest peer's saturation, two cores shared by all", Threads: 2, Conns: 64,
		Share: 0.75, Path: pathSmall, Goal: Goal{P99, 1.10, 0.90}},

	{Name: "idle-tcp", About: "idle connections through a TCP relay", Kind: Idle, Front: Relay, Threads: 2, Conns: idleConns, Path: pathSmall,
		Goal: Goal{Memory, 0.6, 0.3}},
	{Name: "idle-ws", About: "idle WebSockets", Kind: Idle, Threads: 2, Conns: idleConns, Path: pathEcho, Upgrade: true,
		Goal: Goal{Memory, 0.6, 0.3}},
	{Name: "idle-http", About: "idle keep-alive connections after one 100 B GET", Kind: Idle, Threads: 2, Conns: idleConns, Path: pathSmall,
		Goal: Goal{Memory, 0.6, 0.3}},
	{Name: "idle-tls-1k", About: "idle TLS 1.3 connections after one 100 B GET", Kind: Idle, Front: TLS, Threads: 2, Conns: idleConns,
		Path: pathSmall, Goal: Goal{Memory, 10, 8}},
	{Name: "idle-tls-16k", About: "idle TLS 1.3 connections after 32 KiB each way, in records of 16 KiB", Kind: Idle, Front: TLS, Threads: 2,
		Conns: idleConns, Path: path32K, Post: 32 << 10, Goal: Goal{Memory, 26, 10}},

	{Name: "slow-clients", About: "100 B GET at 2,000 req/s beside 10,000 clients that send a byte of a head a second", Kind: Slow, Threads: 2,
		Conns: 64, Rate: 2000, Path: pathSmall, Slow: slowConns, Limit: slowConns + 2000, Goal: Goal{Of: P99}},
	{Name: "flood", About: "more connections than the limit of 8,000, each with a request, then another", Kind: Flooded, Threads: 2,
		Conns: floodLimit + 2000, Path: pathSmall, Limit: floodLimit},
}

// body returns what every body of the bench is made of, from its first byte on: printable, and with a period that is
// prime, so that a chunk lost, doubled or swapped does not go unseen.
func body(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = bodyByte(int64(i))
	}
	return b
}

func bodyByte(i int64) byte { return byte('!' + i%89) }
