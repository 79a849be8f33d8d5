package serve

import (
	"context"
	"fmt"
	"net"
	"slices"

	"roost"
	"roost/internal/admin"
)

// door is an open socket that operators come in by.
type door struct {
	address string // as configured
	ln      *closing
	secrecy *secrecy
	token   bool
	stop    func() // ends serving; requests under way finish
}

// prepareDoors opens what operators come in by.
func (b *Balancer) prepareDoors(n *next, open func(string) (net.Listener, error), fail func(string, error)) {
	a := &n.cfg.Admin
	add := func(path, address string, token bool, t *roost.TLS) {
		i := slices.IndexFunc(b.doors, func(d *door) bool { return sameAddress(d.address, address) })
		var d *door
		if i >= 0 {
			d = b.doors[i]
		} else {
			ln, err := open(address)
			if err != nil {
				fail(path, fmt.Errorf("admin: %w", err))
				return
			}
			d = &door{address: address, ln: newClosing(ln), secrecy: newSecrecy(), token: token}
		}
		s, err := d.secrecy.next(t, false, b.log)
		if err != nil {
			fail("admin.tls", fmt.Errorf("admin: %w", err))
		}
		n.doors, n.behind = append(n.doors, d), append(n.behind, s)
	}
	if a.Socket != "" {
		add("admin.socket", "unix:"+a.Socket, false, nil)
	}
	if a.Address == "" {
		return
	}
	add("admin.listen", a.Address, true, a.TLS)
	t, created, err := admin.OpenToken(a.Token)
	if err != nil {
		fail("admin.token", fmt.Errorf("admin: %w", err))
		return
	}
	if created {
		b.log.Info("made a token for the admin listener", "file", a.Token)
	}
	n.token = &t
}

// installDoors serves operators by the doors of n, and by no others.
func (b *Balancer) installDoors(n *next) {
	b.token.Store(n.token)
	for i, d := range n.doors {
		d.secrecy.use(n.behind[i], b.follow)
		if d.stop != nil {
			continue
		}
		b.log.Info("admin listening", "address", d.ln.Addr().String())
		d.stop = b.support.start("admin", func(ctx context.Context) error {
			return b.admin.Serve(ctx, d.ln, admin.Door{Token: d.token, TLS: d.secrecy.conf})
		})
	}
	for _, d := range b.doors {
		if !slices.Contains(n.doors, d) {
			d.stop() // whoever asked for this reload by it gets the answer
			d.secrecy.use(nil, nil)
		}
	}
	b.doors = n.doors
}

// closeDoors lets nobody in any more, and waits until that is so. Requests under way finish.
func (b *Balancer) closeDoors() {
	for _, d := range b.doors {
		d.stop()
		<-d.ln.closed
	}
	b.doors = nil
}

// adminToken is what the admin listener asks for.
func (b *Balancer) adminToken() admin.Token {
	if t := b.token.Load(); t != nil {
		return *t
	}
	return admin.Token{} // fits nothing
}
