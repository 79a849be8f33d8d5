package admin

import (
	"context"
	"crypto/tls"
	"log/slog"

	"roost"
	"roost/internal/api"
)

// Options are the balancer as a Server sees it: a function for each thing that it is asked or told. All may be called by
// several goroutines, and what they return is the Server's own. The API answers 501 where a function is nil, unless its line
// says otherwise.
type Options struct {
	Settings func() roost.Admin // as configured now: names and address accepted in Host, open metrics; nil: none
	Token    func() Token       // that is valid now; nil: none is
	Log      *slog.Logger       // for refusals and trouble with serving; nil: discarded
	Metrics  *Metrics           // nil: no /metrics
	Events   *Events

	Status func() roost.Status
	Ready  func() error // why the balancer is not ready; nil: it always is
	Config func() api.Config

	// Node reads a node's short form, [NAME=]ADDRESS. What it says in its error goes to whoever asked.
	Node func(text string) (roost.Node, error)
	// Change makes one change; with rev only if nobody changed anything since that revision. A *roost.ChangeError says
	// which status to answer.
	Change func(ctx context.Context, c roost.Change, rev *uint64) (api.Changed, error)

	// Key, Table and Explain return a *roost.ChangeError when there is no such pool; other errors say what is wrong with
	// the question.
	Key     func(pool roost.PoolID, key string) (api.Key, error)
	Table   func(pool roost.PoolID, rows bool) (api.Table, error)
	Explain func(api.Request) (api.Explanation, error)

	Reload func(ctx context.Context, by string, dry bool) api.Reload // by is "api"
	// Upgrade starts the program's new binary; its error says why the old one goes on. Asked for over the unix socket only:
	// whoever reaches that may run the binary anyway.
	Upgrade func(context.Context) (api.Upgrade, error)
}

// Door is what a listener demands of those who come in by it.
type Door struct {
	Token bool               // the bearer token; only a unix socket, whose mode says who may, does well without
	TLS   func() *tls.Config // asked for each connection; nil, or its result nil: clear text
}
