package main

// Case is one load, the same for every contestant.
type Case struct {
	Name  string `json:"name"`
	About string `json:"about"`

	// Pinned gives the proxy one CPU, and load generator and upstream another; else all share all CPUs.
	Pinned  bool    `json:"pinned"`
	Threads int     `json:"threads"` // of the proxy
	Conns   int     `json:"connections"`
	Rate    float64 `json:"rate,omitempty"` // requests per second, open loop; 0: closed loop, as fast as it goes
	Path    string  `json:"path"`
	Post    int     `json:"post,omitempty"` // bytes of request body; 0: a GET
	// PerRequest opens a connection for each request and closes it after.
	PerRequest bool `json:"per_request,omitempty"`
	// Tuned also runs the peers' tuned variants, where their defaults are known to cost them.
	Tuned bool `json:"-"`
}

// The upstream's paths.
const (
	pathSmall = "/s"    // 100 B
	path64K   = "/64k"  // 64 KiB
	path1M    = "/1m"   // 1 MiB
	pathHead  = "/head" // the request head as it arrived
)

// bodySize is the length of the body that the upstream answers on a path.
func bodySize(path string) int {
	switch path {
	case path64K:
		return 64 << 10
	case path1M:
		return maxBody
	}
	return 100
}

// nodes is how many servers the upstream is.
const nodes = 4

// maxBody is the largest body either way.
const maxBody = 1 << 20

var cases = []Case{
	{Name: "small-c64", About: "100 B keep-alive GET, 64 connections, one core", Pinned: true, Threads: 1, Conns: 64, Path: pathSmall},
	{Name: "small-c512", About: "100 B keep-alive GET, 512 connections, one core", Pinned: true, Threads: 1, Conns: 512, Path: pathSmall},
	{Name: "64k", About: "64 KiB keep-alive GET, 64 connections, one core", Pinned: true, Threads: 1, Conns: 64, Path: path64K, Tuned: true},
	{Name: "1m", About: "1 MiB keep-alive GET, 32 connections, one core", Pinned: true, Threads: 1, Conns: 32, Path: path1M, Tuned: true},
	{Name: "post16k", About: "16 KiB keep-alive POST, 64 connections, one core", Pinned: true, Threads: 1, Conns: 64, Path: pathSmall, Post: 16 << 10},
	{Name: "connperreq", About: "a connection per 100 B GET, 64 at once, one core", Pinned: true, Threads: 1, Conns: 64, Path: pathSmall, PerRequest: true},
	{Name: "2core-c64", About: "100 B keep-alive GET, 64 connections, two cores shared by all", Threads: 2, Conns: 64, Path: pathSmall},
	{Name: "open-2k", About: "100 B GET at 2,000 req/s, two cores shared by all", Threads: 2, Conns: 64, Rate: 2000, Path: pathSmall},
	{Name: "open-10k", About: "100 B GET at 10,000 req/s, two cores shared by all", Threads: 2, Conns: 64, Rate: 10000, Path: pathSmall},
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
