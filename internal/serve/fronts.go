package serve

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"roost"
	"roost/internal/listen"
)

// front is an open socket that takes traffic.
type front struct {
	id      roost.ListenerID
	ln      *closing
	secrecy *secrecy

	// Guarded by Balancer.mu.
	conf    *roost.Listener // as configured now, or, when it is retired, last
	retired bool
}

// closing tells when somebody began to accept from a listener, and when it was closed.
type closing struct {
	net.Listener
	asking, ending sync.Once
	asked, closed  chan struct{}
}

func newClosing(ln net.Listener) *closing {
	return &closing{Listener: ln, asked: make(chan struct{}), closed: make(chan struct{})}
}

func (c *closing) Accept() (net.Conn, error) {
	c.asking.Do(func() { close(c.asked) })
	return c.Listener.Accept()
}

// Sockets are the single ones that the listener consists of, for who accepts from them by himself, and begins now.
func (c *closing) Sockets() []net.Listener {
	defer c.asking.Do(func() { close(c.asked) })
	if several, ok := c.Listener.(interface{ Sockets() []net.Listener }); ok {
		return several.Sockets()
	}
	return []net.Listener{c.Listener}
}

func (c *closing) Close() error {
	err := c.Listener.Close()
	c.ending.Do(func() { close(c.closed) })
	return err
}

// SetDeadline ends Accept at t, as that of [net.TCPListener] does.
func (c *closing) SetDeadline(t time.Time) error {
	if d, ok := c.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		return d.SetDeadline(t)
	}
	return errors.ErrUnsupported
}

// allFronts are those that take traffic, in the order of the configuration, and then those that are retired.
func (b *Balancer) allFronts() []*front {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.fronts)
}

func sockets(fronts []*front) []socket {
	held := make([]socket, len(fronts))
	for i, f := range fronts {
		held[i] = socket{f.id, f.conf.Address, f.conf.Name, f.retired}
	}
	return held
}

// install puts n in place of what was served before: control serves n.cfg already, and nothing can fail any more.
func (b *Balancer) install(n *next) {
	b.mu.Lock()
	var fresh []*front
	for i, f := range n.fronts {
		if f.conf == nil {
			fresh = append(fresh, f)
		}
		f.conf = &n.cfg.Listeners[i]
	}
	for _, f := range n.retire {
		f.retired = true
	}
	gone := slices.DeleteFunc(slices.Clone(b.fronts), func(f *front) bool { return !f.retired })
	b.cfg, b.fronts = n.cfg, append(slices.Clone(n.fronts), gone...)
	b.mu.Unlock()

	b.logs.use(n.cfg.Log)
	if n.access != nil {
		b.access.use(n.access, b.support, b.log)
	}
	for i, f := range n.fronts {
		f.secrecy.use(n.shown[i], b.follow)
	}
	for _, f := range fresh {
		b.log.Info("listening", "listener", f.conf.Name, "address", f.ln.Addr().String(), "tls", f.conf.TLS != nil)
		b.serve(f)
	}
	b.installDoors(n)
	for _, f := range n.retire {
		b.log.Info("listener retired: its connections finish", "listener", f.conf.Name, "address", f.ln.Addr().String())
		b.engine.Retire(f.id)
	}
	awaitClosed(n.retire)
}

// awaitClosed waits until sockets accept no more, so that whoever asked may use their addresses again. It takes
// milliseconds; but an engine that lacks descriptors may pause between two tries to accept.
func awaitClosed(fronts []*front) {
	limit := time.NewTimer(closeLimit)
	defer limit.Stop()
	for _, f := range fronts {
		select {
		case <-f.ln.closed:
		case <-limit.C:
			return
		}
	}
}

const closeLimit = 2 * time.Second

// follow follows the files of certificates until forget.
func (b *Balancer) follow(c *listen.Certs) (forget func()) {
	return b.support.start("certificates", c.Run)
}

// serve takes traffic from f until it is retired and its last connection has ended. It returns once that has begun, or else
// the engine would not know yet what it is to retire.
func (b *Balancer) serve(f *front) {
	b.traffic.start("listener "+f.conf.Name, func(ctx context.Context) error {
		err := b.engine.Serve(ctx, f.ln, f.id, f.secrecy.conf)
		b.mu.Lock()
		retired := f.retired
		if retired {
			b.fronts = slices.DeleteFunc(slices.Clone(b.fronts), func(o *front) bool { return o == f })
		}
		b.mu.Unlock()
		if retired {
			f.secrecy.end()
		}
		return err
	})
	select {
	case <-f.ln.asked:
	case <-f.ln.closed: // it ends already
	}
}
