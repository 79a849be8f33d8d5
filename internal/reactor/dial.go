//go:build linux

package reactor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"roost"
)

// path is how an exchange or a stream comes to its node: the addresses that are left to be tried, until when.
type path struct {
	work  *work  // whose it is,
	relay *relay // or whose
	c     *conn  // of the client
	at    **conn // where the connection to the node is kept
	set   *roost.PoolSettings

	addrs []netip.AddrPort
	tried int    // of these
	to    target // the one that is tried
	by    int64  // the monotonic clock; 0: no limit
	fault roost.Fault
	err   error // of the first address
	turn  int32 // tells this dial's answers from those of an earlier one

	asking bool // the name is being looked up
}

// minTry is the least that one of several addresses gets, so that a first one that drops packets leaves time for the
// others, and many addresses still get a fair one each.
const minTry = 2 * time.Second

var (
	errConnectSlow = errors.New("no connection in time")
	errNoAddress   = errors.New("the node's name has no address")
)

// dial connects to the attempt's node, over all the addresses of its name.
func (l *loop) dial(k *work) {
	p := &k.path
	p.work, p.c, p.at, p.set = k, k.c, &k.n, &k.set
	l.find(p, k.x.Attempt.Addr)
}

// find begins to connect to a node. What comes of it is told by reached or lost.
func (l *loop) find(p *path, addr string) {
	p.addrs, p.tried, p.by, p.fault, p.err, p.asking = p.addrs[:0], 0, 0, roost.NoFault, nil, false
	p.turn++
	if p.set.ConnectTimeout > 0 {
		p.by = l.mono + int64(p.set.ConnectTimeout)
	}
	if unix, ok := strings.CutPrefix(addr, "unix:"); ok {
		p.to = target{path: unix}
		l.connect(p)
		return
	}
	if ip, err := netip.ParseAddrPort(addr); err == nil {
		p.addrs = append(p.addrs, ip)
		l.try(p)
		return
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		l.lost(p, roost.FaultResolve, fmt.Errorf("address of the node: %w", err))
		return
	}
	l.ask(p, host, port)
}

// reached goes on when the connection to the node is there.
func (l *loop) reached(p *path) {
	if p.relay != nil {
		l.joined(p.relay)
		return
	}
	p.work.n.rack = l.rackOf(&p.work.x.Attempt)
	l.converse(p.work, l.ahead(p.c))
}

// lost goes on when there is none.
func (l *loop) lost(p *path, f roost.Fault, err error) {
	if p.relay != nil {
		l.unjoined(p.relay, roost.StageConnect, f, err)
		return
	}
	l.failed(p.work, roost.StageConnect, f, err)
}

// pathOf is the path at which c stands, if it is a client's that waits for its node, or the connection that is dialled.
func pathOf(c *conn) *path {
	switch {
	case c.work != nil:
		return &c.work.path
	case c.relay != nil && c.relay.opening != nil:
		return &c.relay.opening.path
	}
	return nil
}

// try dials the next address. Of several failures the first one is told.
func (l *loop) try(p *path) {
	for p.tried < len(p.addrs) {
		to := p.addrs[p.tried]
		p.tried++
		ip := to.Addr().Unmap()
		// Checked here and not where the name was configured: what a name resolves to is someone else's to change.
		if roost.Forbidden(ip) && !p.set.AllowLinkLocal {
			p.note(roost.FaultForbidden, fmt.Errorf("dial %s: address is link-local or of a metadata service", ip))
			continue
		}
		if p.by != 0 && l.mono >= p.by {
			p.note(roost.FaultConnect, errConnectSlow)
			break
		}
		p.to = target{addr: netip.AddrPortFrom(ip, to.Port())}
		l.connect(p)
		return
	}
	p.note(roost.FaultResolve, errNoAddress)
	l.lost(p, p.fault, p.err)
}

func (p *path) note(f roost.Fault, err error) {
	if p.err == nil {
		p.fault, p.err = f, err
	}
}

// connect begins to connect to one address.
func (l *loop) connect(p *path) {
	fd, e := l.k.dial(&p.to)
	if e != 0 && e != syscall.EINPROGRESS {
		l.missed(p, e)
		return
	}
	n := l.slab.take()
	n.fd, n.node, n.state, n.born = fd, true, connecting, l.mono
	n.work, n.relay, *p.at = p.work, p.relay, n
	// Only now: an event that came before would tell of a socket that is not connected, and none would follow.
	if w := l.k.watch(fd, n.token()); w != 0 {
		l.lost(p, roost.FaultLocal, w)
		return
	}
	if e == 0 {
		l.reached(p)
		return
	}
	if p.by != 0 {
		left := time.Duration(p.by - l.mono)
		if more := len(p.addrs) - p.tried; more > 0 {
			left = min(left, max(left/time.Duration(more+1), minTry))
		}
		l.arm(n, max(left, 1))
	}
}

// ahead is what was read of a client and not used.
func (l *loop) ahead(c *conn) []byte {
	if c.pend == nil {
		return nil
	}
	return c.pend.rest()
}

// missed goes on after an address that did not answer.
func (l *loop) missed(p *path, e syscall.Errno) {
	fault := roost.FaultConnect
	switch e {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ENOENT, syscall.EAGAIN: // EAGAIN: a unix socket whose queue is full
		fault = roost.FaultRefused
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL:
		fault = roost.FaultLocal
	}
	p.note(fault, fmt.Errorf("connect: %w", e))
	if n := *p.at; n != nil {
		n.work, n.relay, *p.at = nil, nil, nil
		l.close(n)
	}
	l.try(p)
}

// connected goes on when a connection to a node is there, or is known not to come.
func (l *loop) connected(n *conn, events uint32) {
	switch e := l.k.fault(n.fd); {
	case e != 0:
		l.missed(pathOf(n), e)
	case events&evOut != 0:
		l.reached(pathOf(n))
	}
}

// names are what a name resolved to. Answers are kept for a moment only: long enough that a burst of dials is one
// question, short enough that a node that moved is found again at once. Errors are not kept.
type names struct {
	addrs   []netip.Addr
	until   int64 // by the monotonic clock; 0: it is being asked
	waiting []func(*loop, []netip.Addr, error)
}

const (
	answerTTL = 5 * time.Second
	// maxNames bounds the names kept: more than any balancer has nodes by name.
	maxNames = 4096
	// askMost bounds a question: resolvers try several servers, 5 s each, and dials that wait have a limit of their own.
	askMost = 10 * time.Second
)

// ask finds the addresses of a node's name, and tries them.
func (l *loop) ask(p *path, host, port string) {
	p.asking = true
	if p.by != 0 {
		l.arm(p.c, time.Duration(p.by-l.mono))
	}
	t, turn := p.c.token(), p.turn
	l.lookUp(host, func(l *loop, addrs []netip.Addr, err error) {
		c := l.slab.find(t)
		if c == nil || pathOf(c) != p || p.turn != turn || !p.asking {
			return // it is over, or somewhere else
		}
		defer l.survive(c)
		p.asking = false
		l.arm(c, 0)
		if err != nil {
			l.lost(p, roost.FaultResolve, err)
			return
		}
		for _, ip := range addrs {
			if a, err := netip.ParseAddrPort(net.JoinHostPort(ip.String(), port)); err == nil {
				p.addrs = append(p.addrs, a)
			}
		}
		l.try(p)
	})
}

// lookUp finds the addresses of a name, and calls then on the loop, at once if it knows them.
func (l *loop) lookUp(host string, then func(*loop, []netip.Addr, error)) {
	n := l.names[host]
	if n != nil && n.until > l.mono {
		then(l, n.addrs, nil)
		return
	}
	if n == nil || n.until != 0 {
		if len(l.names) >= maxNames {
			clear(l.names) // those being asked answer to whoever waits all the same
		}
		n = &names{}
		l.names[host] = n
		l.e.beside.Go(func() {
			ctx, cancel := context.WithTimeout(l.e.living, askMost)
			defer cancel()
			addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			l.post(func(l *loop) { l.tellNames(host, n, addrs, err) })
		})
	}
	n.waiting = append(n.waiting, then)
}

func (l *loop) tellNames(host string, n *names, addrs []netip.Addr, err error) {
	waiting := n.waiting
	n.addrs, n.until, n.waiting = addrs, l.mono+int64(answerTTL), nil
	if err != nil && l.names[host] == n {
		delete(l.names, host)
	}
	for _, then := range waiting {
		then(l, addrs, err)
	}
}
