package serve

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"roost"
	"roost/internal/api"
	"roost/internal/listen"
	"roost/internal/systemd"
	"roost/internal/watch"
)

// Who asks for a reload.
const (
	BySignal = "signal"
	ByFile   = "file" // it, or one that it names, changed
	byAPI    = "api"
)

// Codes of mistakes that are not in the file itself.
const (
	codeNoFile     = "no_file"
	codeUnreadable = "unreadable"
	codeRestart    = "needs_restart"
	codeUnusable   = "unusable" // on this machine, now
	codeNotNow     = "not_now"
)

// Reload reads the configuration again and serves by it, or with dry only says what that would change. A configuration with
// any mistake changes nothing. A file that says what is in use already is left alone when by is ByFile.
func (b *Balancer) Reload(ctx context.Context, by string, dry bool) api.Reload {
	begin := b.await // a signal is not sent twice, and a file does not change again: an upgrade that may yet fail is waited for
	if by == byAPI {
		begin = b.begin
	}
	if err := begin(ctx); err != nil {
		if by != ByFile { // nobody asked
			b.log.Warn("reload refused", "by", by, "error", err)
		}
		return b.answer(api.Reload{Errors: []roost.Mistake{{Code: codeNotNow, Message: err.Error()}}})
	}
	defer b.turn.give()
	cfg, r := b.read()
	if by == ByFile && b.known(cfg, r.Errors) {
		r.Changes = nil
		return b.answer(r)
	}
	if dry {
		return b.answer(r)
	}
	b.tellSystemd(systemd.Reloading())
	if cfg != nil && len(r.Errors) == 0 {
		r.Errors = b.apply(cfg)
	}
	r = b.answer(r)
	b.tell(by, r)
	b.tellSystemd(systemd.Ready())
	return r
}

// answer fills in what follows from the rest.
func (b *Balancer) answer(r api.Reload) api.Reload {
	r.OK, r.Digest = len(r.Errors) == 0, b.config().Digest.String()
	if !r.OK || r.Changes == nil {
		r.Changes = []string{}
	}
	return r
}

// read loads the configuration and compares it with the one in use. The configuration is nil when it has mistakes.
func (b *Balancer) read() (*roost.Config, api.Reload) {
	if b.o.Load == nil {
		return nil, api.Reload{Errors: []roost.Mistake{{Code: codeNoFile,
			Message: "the configuration came from flags, so there is no file to read again", Fix: "start with -c FILE, or change nodes, pins and weights through the API"}}}
	}
	cfg, diags, err := b.o.Load()
	if err != nil {
		return nil, api.Reload{Errors: []roost.Mistake{{Code: codeUnreadable, Message: err.Error()}}}
	}
	var r api.Reload
	r.Errors, r.Warnings = diags.Mistakes()
	if cfg == nil || len(r.Errors) > 0 {
		return nil, r
	}
	was := b.config()
	if r.Errors = restarts(was, cfg); len(r.Errors) > 0 {
		return nil, r
	}
	r.Warnings = append(r.Warnings, b.laterChanges(cfg)...)
	if r.Changes = changes(was, cfg); len(r.Changes) == 0 && cfg.Digest != was.Digest {
		r.Changes = []string{"the text, or a file that it names, but no setting"}
	}
	return cfg, r
}

// restarts are the changes that a running process cannot make.
func restarts(was, now *roost.Config) (ms []roost.Mistake) {
	for _, s := range []struct{ path, was, now string }{{"state", was.State, now.State}, {"store", was.Store, now.Store}} {
		if s.was != s.now {
			m := roost.Mistake{Path: s.path, Code: codeRestart, Fix: "restart, or say roost upgrade",
				Message: fmt.Sprintf("%s cannot change from %s to %s while the balancer runs", s.path, orOff(s.was), orOff(s.now))}
			if len(now.Files) > 0 {
				m.File = now.Files[0]
			}
			ms = append(ms, m)
		}
	}
	return ms
}

func orOff(s string) string {
	if s == "" {
		return "off"
	}
	return s
}

// known tells whether what was read is in use already, or is as wrong as it was when it was last tried.
func (b *Balancer) known(cfg *roost.Config, errors []roost.Mistake) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cfg == nil {
		return !b.reloaded.OK && slices.Equal(errors, b.reloaded.Errors)
	}
	return b.reloaded.OK && cfg.Digest == b.cfg.Digest
}

// apply opens what cfg needs, publishes it, and retires what it does not need; or it changes nothing and says why.
func (b *Balancer) apply(cfg *roost.Config) []roost.Mistake {
	held := b.held()
	n, troubles := b.prepare(cfg, func(address string, n int, leaving []net.Listener) (net.Listener, error) {
		return listen.OpenBeside(address, n, held, leaving)
	})
	if len(troubles) == 0 {
		err := b.control.Configure(b.support.ctx, cfg)
		if err == nil {
			b.install(n)
			b.keeper.settle(b.support.ctx)
			return nil
		}
		troubles = []trouble{{"", err}}
	}
	n.close()
	var ms []roost.Mistake
	for _, t := range troubles {
		ms = append(ms, roost.Mistake{Path: t.path, Code: codeUnusable, Message: t.err.Error()})
	}
	return ms
}

// held are all sockets that this process listens on.
func (b *Balancer) held() (lns []net.Listener) {
	for _, f := range b.allFronts() {
		if !f.retired {
			lns = append(lns, f.ln.Listener)
		}
	}
	for _, d := range b.doors {
		lns = append(lns, d.ln.Listener)
	}
	return lns
}

// tell says everywhere how a reload went.
func (b *Balancer) tell(by string, r api.Reload) {
	b.mu.Lock()
	b.reloaded = roost.ReloadStatus{At: time.Now(), By: by, OK: r.OK, Errors: r.Errors}
	b.mu.Unlock()
	b.metrics.Reloaded(by, r.OK)
	for _, w := range r.Warnings {
		b.log.Warn(w.Message, about(w)...)
	}
	for _, e := range r.Errors {
		b.log.Error(e.Message, about(e)...)
	}
	if !r.OK {
		b.log.Error("reload failed; the configuration before stays in use", "by", by, "mistakes", len(r.Errors), "digest", r.Digest)
		return
	}
	for _, c := range r.Changes {
		b.log.Info("reload: " + c)
	}
	b.log.Info("reloaded", "by", by, "changes", len(r.Changes), "digest", r.Digest)
}

// about are a mistake's attributes in the log.
func about(m roost.Mistake) []any {
	attrs := []any{"code", m.Code}
	if m.File != "" {
		at := m.File
		if m.Line > 0 {
			at = fmt.Sprintf("%s:%d:%d", m.File, m.Line, m.Column)
		}
		attrs = append(attrs, "at", at)
	}
	if m.Path != "" {
		attrs = append(attrs, "setting", m.Path)
	}
	if m.Fix != "" {
		attrs = append(attrs, "fix", m.Fix)
	}
	return attrs
}

// watch reloads when the configuration, or a file that it names, changes.
func (b *Balancer) watch(ctx context.Context) error {
	return watch.New(b.log).Run(ctx, func() []string { return b.config().Files }, func() { b.Reload(ctx, ByFile, false) })
}

// tellSystemd notes that the service manager could not be told something, which changes nothing else.
func (b *Balancer) tellSystemd(err error) {
	if err != nil {
		b.log.Warn("the service manager was not told", "error", err)
	}
}
