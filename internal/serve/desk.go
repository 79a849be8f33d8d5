package serve

import (
	"context"
	"errors"

	"roost"
	"roost/internal/api"
)

var errSoon = errors.New("not built yet")

// Change makes one change. With ifRev it is made only if nobody changed anything since that revision. The error is a
// *roost.ChangeError.
func (b *Balancer) Change(ctx context.Context, c roost.Change, ifRev *uint64) (api.Changed, error) {
	return api.Changed{}, errSoon
}

// List takes what a source lists now.
func (b *Balancer) List(ctx context.Context, l roost.Listing) error { return b.control.List(ctx, l) }

// Reload reads the configuration again and applies it, or with dry only says what that would change. by is who asked:
// signal, api or file.
func (b *Balancer) Reload(ctx context.Context, by string, dry bool) api.Reload { return api.Reload{} }

// Upgrade starts the program anew and gives it the listeners.
func (b *Balancer) Upgrade(ctx context.Context) (api.Upgrade, error) { return api.Upgrade{}, errSoon }

// Config is the configuration in use.
func (b *Balancer) Config() api.Config { return api.Config{} }

// Explain says what would happen to a request now.
func (b *Balancer) Explain(q api.Request) (api.Explanation, error) { return api.Explanation{}, errSoon }

// Key says where a key lives now.
func (b *Balancer) Key(pool roost.PoolID, key string) (api.Key, error) { return api.Key{}, errSoon }

// Table is a pool's table.
func (b *Balancer) Table(pool roost.PoolID, rows bool) (api.Table, error) {
	return api.Table{}, errSoon
}

// ReopenLogs opens the access log by its name again.
func (b *Balancer) ReopenLogs() { b.access.Reopen() }
