package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"time"

	"roost"
	"roost/internal/std"
)

// engine carries traffic from listeners to nodes, as [std.Engine] says it.
type engine interface {
	Serve(ctx context.Context, ln net.Listener, id roost.ListenerID, conf func() *tls.Config) error
	Retire(id roost.ListenerID)
	Drain(ctx context.Context) error
	HandOver(ctx context.Context) error
	Connections(id roost.ListenerID) int64
}

// loopsOf is how many event loops a process has that starts by cfg; 0: it carries traffic with the engine std. As many as
// CPUs are those that affinity, and the quota of a container, give us: GOMAXPROCS begins with that, and grows here.
func loopsOf(cfg *roost.Config) int {
	if cfg.Engine == "std" || cfg.Engine == "auto" && !reactorIsDefault {
		return 0
	}
	return cmp.Or(cfg.Loops, min(runtime.NumCPU(), runtime.GOMAXPROCS(0)))
}

// makeRoom lets other work run beside loops: each holds its place among GOMAXPROCS also while it waits for events, so there
// must be one more. Work that takes long needs one of the permits, as many as there are such places: it would hold up the
// rest of the process, and take CPUs from loops.
func makeRoom(loops int) (permits chan struct{}) {
	if loops == 0 {
		return nil
	}
	places := max(runtime.GOMAXPROCS(0), loops+1)
	runtime.GOMAXPROCS(places)
	return make(chan struct{}, places-loops)
}

// openEngine makes the engine.
func (b *Balancer) openEngine() error {
	rest := std.New(std.Options{Snapshot: &b.snap, Log: b.log, Now: time.Now, Record: b.record})
	if b.loops == 0 {
		b.engine = rest
		return nil
	}
	return b.openLoops(rest)
}

// laterChanges are the settings of now that take effect in the next process only.
func (b *Balancer) laterChanges(now *roost.Config) (ms []roost.Mistake) {
	for _, s := range []struct {
		path     string
		was, now any
	}{{"engine", b.began.Engine, now.Engine}, {"loops", b.began.Loops, now.Loops}} {
		if s.was == s.now {
			continue
		}
		m := roost.Mistake{Path: s.path, Code: codeRestart, Fix: "say roost upgrade",
			Message: fmt.Sprintf("%s: %v takes effect at the next upgrade or restart; this process goes on with %v", s.path, s.now, s.was)}
		if len(now.Files) > 0 {
			m.File = now.Files[0]
		}
		ms = append(ms, m)
	}
	return ms
}
