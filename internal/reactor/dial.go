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

// path is how an exchange comes to its node: the addresses that are left to be tried, until when.
type path struct {
	addrs  []netip.AddrPort
	by     int64 // the monotonic clock; 0: no limit
	fault  roost.Fault
	err    error // of the first address
	asking bool  // the name is being looked up
	turn   int32 // tells this dial's answers from those of an earlier one
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
	*p = path{addrs: p.addrs[:0], turn: p.turn + 1}
	if k.set.ConnectTimeout > 0 {
		p.by = l.mono + int64(k.set.ConnectTimeout)
	}
	addr := k.x.Attempt.Addr
	if unix, ok := strings.CutPrefix(addr, "unix:"); ok {
		l.connect(k, &target{path: unix})
		return
	}
	if ip, err := netip.ParseAddrPort(addr); err == nil {
		p.addrs = append(p.addrs, ip)
		l.try(k)
		return
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		l.failed(k, roost.StageConnect, roost.FaultResolve, fmt.Errorf("address of the node: %w", err))
		return
	}
	l.ask(k, host, port)
}

// try dials the next address. Of several failures the first one is told.
func (l *loop) try(k *work) {
	p := &k.path
	for len(p.addrs) > 0 {
		to := p.addrs[0]
		p.addrs = p.addrs[1:]
		ip := to.Addr().Unmap()
		// Checked here and not where the name was configured: what a name resolves to is someone else's to change.
		if roost.Forbidden(ip) && !k.set.AllowLinkLocal {
			p.note(roost.FaultForbidden, fmt.Errorf("dial %s: address is link-local or of a metadata service", ip))
			continue
		}
		if p.by != 0 && l.mono >= p.by {
			p.note(roost.FaultConnect, errConnectSlow)
			break
		}
		l.connect(k, &target{addr: netip.AddrPortFrom(ip, to.Port())})
		return
	}
	p.note(roost.FaultResolve, errNoAddress)
	l.failed(k, roost.StageConnect, p.fault, p.err)
}

func (p *path) note(f roost.Fault, err error) {
	if p.err == nil {
		p.fault, p.err = f, err
	}
}

// connect begins to connect to one address.
func (l *loop) connect(k *work, to *target) {
	fd, e := l.k.dial(to)
	if e != 0 && e != syscall.EINPROGRESS {
		l.missed(k, e)
		return
	}
	n := l.slab.take()
	n.fd, n.node, n.state, n.born = fd, true, connecting, l.mono
	n.rack = l.rackOf(&k.x.Attempt)
	k.n, n.work = n, k
	// Only now: an event that came before would tell of a socket that is not connected, and none would follow.
	if e := l.k.watch(fd, n.token()); e != 0 {
		l.failed(k, roost.StageConnect, roost.FaultLocal, e)
		return
	}
	if e == 0 {
		l.converse(k, l.ahead(k.c))
		return
	}
	if by := k.path.by; by != 0 {
		left := time.Duration(by - l.mono)
		if more := len(k.path.addrs); more > 0 {
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
func (l *loop) missed(k *work, e syscall.Errno) {
	fault := roost.FaultConnect
	switch e {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ENOENT, syscall.EAGAIN: // EAGAIN: a unix socket whose queue is full
		fault = roost.FaultRefused
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL:
		fault = roost.FaultLocal
	}
	k.path.note(fault, fmt.Errorf("connect: %w", e))
	if n := k.n; n != nil {
		k.n, n.work = nil, nil
		l.close(n)
	}
	l.try(k)
}

// connected goes on when a connection to a node is there, or is known not to come.
func (l *loop) connected(n *conn, events uint32) {
	if e := l.k.fault(n.fd); e != 0 {
		l.unreached(n, e)
		return
	}
	if events&evOut == 0 {
		return
	}
	if n.relay != nil {
		l.relayConnected(n)
		return
	}
	l.converse(n.work, l.ahead(n.work.c))
}

// unreached ends a try to connect.
func (l *loop) unreached(n *conn, e syscall.Errno) {
	if n.relay != nil {
		l.relayMissed(n, e)
		return
	}
	l.missed(n.work, e)
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
func (l *loop) ask(k *work, host, port string) {
	p := &k.path
	p.asking = true
	if p.by != 0 {
		l.arm(k.c, time.Duration(p.by-l.mono))
	}
	t, turn := k.c.token(), p.turn
	l.lookUp(host, func(l *loop, addrs []netip.Addr, err error) {
		c := l.slab.find(t)
		if c == nil || c.work != k || k.path.turn != turn || !k.path.asking {
			return // the exchange is over, or somewhere else
		}
		p.asking = false
		l.arm(c, 0)
		if err != nil {
			l.failed(k, roost.StageConnect, roost.FaultResolve, err)
			return
		}
		for _, ip := range addrs {
			if a, err := netip.ParseAddrPort(net.JoinHostPort(ip.String(), port)); err == nil {
				p.addrs = append(p.addrs, a)
			}
		}
		l.try(k)
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
