package serve

import (
	"context"
	"errors"
	"fmt"

	"roost"
	"roost/internal/api"
	"roost/internal/listen"
	"roost/internal/systemd"
	"roost/internal/upgrade"
)

// Upgrade starts the program anew, gives it all sockets, and returns when it serves. This process then ends with the last
// of its connections. When the new one fails, nothing has changed; the error has its last words.
//
// No connection is refused: (1) the new process holds the sockets before (2) this one stops to accept; (3) what the kernel
// has queued is the new one's, whoever was to accept it.
func (b *Balancer) Upgrade(ctx context.Context) (api.Upgrade, error) {
	if b.o.Program == nil {
		return api.Upgrade{}, errors.New("this balancer does not know which program to start")
	}
	if err := b.begin(ctx); err != nil {
		return api.Upgrade{}, err
	}
	b.upgrading.Store(true)
	child, err := b.startChild(ctx)
	if err != nil {
		b.upgrading.Store(false)
		b.keeper.pause(false)
		b.turn.give()
		b.log.Error("upgrade failed; this process goes on", "error", err)
		return api.Upgrade{}, err
	}
	// From here on the turn is never given: nothing changes in this process any more.
	b.tellSystemd(systemd.MainPID(child.PID))
	left := b.open()
	closeDoors(b.doors)
	b.doors = nil
	close(b.handed)
	b.support.start("new process", func(ctx context.Context) error {
		select {
		case <-child.Ended():
			if err := child.Err(); err != nil {
				b.log.Error("the new process has ended; nobody takes new connections", "pid", child.PID, "error", err)
			} else { // it was told to, or was upgraded itself
				b.log.Info("the new process has ended", "pid", child.PID)
			}
		case <-ctx.Done():
		}
		return nil
	})
	b.log.Info("upgraded: the new process serves, this one ends with its last connection", "version", child.Version, "pid", child.PID, "connections", left)
	return api.Upgrade{Version: child.Version, PID: child.PID, Left: left}, nil
}

// startChild returns when the new process serves, with our sockets.
func (b *Balancer) startChild(ctx context.Context) (*upgrade.Child, error) {
	if s := b.keeper.store; s.Kind() == "memory" && b.edits.Rev > 0 {
		return nil, &roost.ChangeError{Code: roost.CodeStoreAway, Text: fmt.Sprintf("%d changes were made through the API, and the memory store cannot hand them over: use store: sqlite", b.edits.Rev)}
	}
	b.keeper.settle(ctx) // the new process starts with our last tables
	b.keeper.pause(true) // and stores its own
	gift, err := b.o.Inherited.Give(b.gifts())
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	defer gift.Close()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.ending, cancel)() // a balancer that ends waits for no child
	o := *b.o.Program
	o.Files, o.Env = gift.Files, append(o.Env[:len(o.Env):len(o.Env)], gift.Env)
	child, err := upgrade.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	gift.Taken()
	return child, nil
}

// gifts are the sockets that the new process gets.
func (b *Balancer) gifts() (all []listen.Socket) {
	for _, f := range b.allFronts() {
		if !f.retired {
			all = append(all, listen.Socket{Address: f.conf.Address, Listener: f.ln.Listener})
		}
	}
	for _, d := range b.doors {
		all = append(all, listen.Socket{Address: d.address, Listener: d.ln.Listener})
	}
	return all
}
