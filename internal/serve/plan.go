package serve

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"roost"
)

// socket is a front as a plan sees it.
type socket struct {
	id      roost.ListenerID
	address string // as configured
	name    string
	retired bool
}

// plan is how the sockets that are held become those that a configuration wants.
type plan struct {
	ids    []roost.ListenerID // of its listeners, by their order
	keep   []int              // by listener: the index of the socket that it keeps, or -1 for one that is to be opened
	retire []int              // the sockets that nobody wants any more
}

// maxSockets bounds those that are held, retired ones included: each costs a view in every snapshot, and a retired one
// stays until its last connection has ended. It leaves room for many reloads that each move hundreds of listeners.
const maxSockets = math.MaxUint16 / 8

// planSockets compares what is held with what is wanted. A socket is its address: a listener that is renamed, stands
// elsewhere in the file, or turns TLS on or off keeps its socket and its id. What is new gets the lowest ids that nothing
// uses. A retired socket is closed already and cannot be kept.
func planSockets(held []socket, want []roost.Listener) (plan, error) {
	p := plan{ids: make([]roost.ListenerID, len(want)), keep: make([]int, len(want))}
	taken := make([]bool, len(held))
	claim := func(i int, fits func(s *socket) bool) bool {
		for j := range held {
			s := &held[j]
			if !taken[j] && !s.retired && sameAddress(s.address, want[i].Address) && fits(s) {
				taken[j], p.keep[i], p.ids[i] = true, j, s.id
				return true
			}
		}
		return false
	}
	// Port 0 may stand there more than once; then the names tell which is which.
	for i := range want {
		p.keep[i] = -1
		claim(i, func(s *socket) bool { return s.name == want[i].Name })
	}
	used := map[roost.ListenerID]bool{}
	for i := range held {
		used[held[i].id] = true
	}
	next := roost.ListenerID(0)
	for i := range want {
		if p.keep[i] >= 0 || claim(i, func(*socket) bool { return true }) {
			continue
		}
		for used[next] {
			next++
		}
		if len(used) >= maxSockets {
			return p, fmt.Errorf("%d listeners are open, of which most are out of the configuration and wait for their last connections: at most %d", len(used), maxSockets)
		}
		used[next], p.ids[i] = true, next
	}
	for j := range held {
		if !taken[j] && !held[j].retired {
			p.retire = append(p.retire, j)
		}
	}
	return p, nil
}

// sameAddress tells whether two addresses, as configured, mean one socket: ":80", "0.0.0.0:80" and "[::]:80" do.
func sameAddress(a, b string) bool { return a == b || bare(a) == bare(b) }

func bare(address string) string {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix:" + filepath.Clean(path)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if host = ip.Unmap().String(); ip.IsUnspecified() {
			host = ""
		}
	}
	return net.JoinHostPort(host, port)
}
