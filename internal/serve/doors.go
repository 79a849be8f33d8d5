package serve

import (
	"context"
	"fmt"
	"net"
	"slices"

	"roost"
	"roost/internal/admin"
	"roost/internal/listen"
)

// door is an open socket that operators come in by.
type door struct {
	address string // as configured
	ln      *closing
	secrecy *secrecy
	token   bool
	stop    func() // ends serving; requests under way finish
}

// entrance is what a configuration says of a door.
type entrance struct {
	path, address string // the setting, and what it says
	token         bool
	tls           *roost.TLS
}

func entrances(a *roost.Admin) (es []entrance) {
	if a.Socket != "" {
		es = append(es, entrance{path: "admin.socket", address: "unix:" + a.Socket})
	}
	if a.Address != "" {
		es = append(es, entrance{"admin.listen", a.Address, true, a.TLS})
	}
	return es
}

func (d *door) is(e entrance) bool { return sameAddress(d.address, e.address) }

// prepareDoors opens what operators come in by.
func (b *Balancer) prepareDoors(n *next, open func(string) (net.Listener, error), fail func(string, error)) {
	for _, e := range entrances(&n.cfg.Admin) {
		i := slices.IndexFunc(b.doors, func(d *door) bool { return d.is(e) })
		var d *door
		if i >= 0 {
			d = b.doors[i]
		} else if ln, err := open(e.address); err != nil {
			fail(e.path, fmt.Errorf("admin: %w", err))
			continue
		} else {
			d = &door{address: e.address, ln: newClosing(ln), secrecy: newSecrecy(), token: e.token}
		}
		s, err := d.secrecy.next(e.tls, []string{"http/1.1"}, listen.CertOptions{Log: b.log, Permits: b.permits})
		if err != nil {
			fail("admin.tls", fmt.Errorf("admin: %w", err))
		}
		n.doors, n.worn = append(n.doors, d), append(n.worn, s)
	}
	if n.cfg.Admin.Address == "" {
		return
	}
	t, created, err := admin.OpenToken(n.cfg.Admin.Token)
	if err != nil {
		fail("admin.token", fmt.Errorf("admin: %w", err))
		return
	}
	if created {
		b.log.Info("made a token for the admin listener", "file", n.cfg.Admin.Token)
	}
	n.token = &t
}

// installDoors serves operators by the doors of n, and by no others.
func (b *Balancer) installDoors(n *next) {
	b.token.Store(n.token)
	for i, d := range n.doors {
		d.secrecy.use(n.worn[i], b.follow)
		if d.stop != nil {
			continue
		}
		b.log.Info("admin listening", "address", d.ln.Addr().String())
		d.stop = b.support.start("admin", func(ctx context.Context) error {
			err := b.admin.Serve(ctx, d.ln, admin.Door{Token: d.token, TLS: d.secrecy.conf})
			if err != nil && ctx.Err() != nil { // somebody did not finish what they asked; that ends no balancer
				b.log.Warn("an admin listener was cut off", "error", err)
				return nil
			}
			return err
		})
	}
	closeDoors(slices.DeleteFunc(b.doors, func(d *door) bool { return slices.Contains(n.doors, d) }))
	b.doors = n.doors
}

// closeDoors lets nobody in any more, and waits until that is so. Requests under way finish: whoever asked for a reload, or
// an upgrade, by one of them gets the answer.
func closeDoors(doors []*door) {
	for _, d := range doors {
		d.stop()
		<-d.ln.closed
		d.secrecy.end()
	}
}

// adminToken is what the admin listener asks for.
func (b *Balancer) adminToken() admin.Token {
	if t := b.token.Load(); t != nil {
		return *t
	}
	return admin.Token{} // fits nothing
}
