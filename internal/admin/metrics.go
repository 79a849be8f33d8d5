package admin

import (
	"cmp"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"roost"
)

// maxScrapes bounds scrapes at once: each holds the text of all series in memory.
const maxScrapes = 4

// Sources are what a scrape reads, besides the counts of Metrics itself.
type Sources struct {
	Status      func() roost.Status
	Connections func() map[string]int64  // open client connections by listener name; nil: not shown
	LogDropped  func() uint64            // lines that the access log lost; nil: not shown
	Events      *Events                  // nil: not shown
	Loops       func() []roost.LoopStats // of the engine's event loops, by loop; nil: it has none
	// Reasons are the codes that Record.Reason can have. Others count as "other", so that series stay bounded.
	Reasons []string
}

// Metrics counts finished exchanges. Series are bounded by what is configured: listeners × their routes × whys × classes
// of status; no label ever holds a key or anything else that a client can choose.
type Metrics struct {
	sources  Sources
	reasons  map[string]int // code to index into listener.refusals; 0 is "other"
	registry *prometheus.Registry
	table    atomic.Pointer[table]

	admin [classes]atomic.Uint64 // answers of a Server, by class

	mu      sync.Mutex // guards reloads, and lets one Configure run at a time
	reloads map[reload]uint64
}

// reload is a kind of reload.
type reload struct {
	by string
	ok bool
}

// table is where counts go under one configuration. It is immutable; the counters that it points to are handed from one
// table to the next.
type table struct {
	listeners []*listener // by ListenerID; the last one is for ids that are not known (any more)
	routes    map[string]*histogram
	pools     map[string]*histogram
}

// listener is one listener's counters.
type listener struct {
	name     string
	rows     map[routing]*row      // the zero routing when no route matched
	current  map[*roost.Route]*row // those of the configuration's own routes, which are nearly all that is asked for
	refusals []atomic.Uint64       // by Metrics.reasons
}

// routing is a route, and the pool it led to: one that is out of the configuration may still be told of with another pool.
type routing struct{ route, pool string }

// row is what is counted of one routing on one listener.
type row struct {
	requests          [classes][whys]atomic.Uint64
	bytesIn, bytesOut atomic.Uint64
	whole             *histogram // of the route, over all listeners
	node              *histogram // of the pool, over all routes
}

const (
	whys    = int(roost.WhyPanic) + 1
	classes = 7 // "none" for status 0, 1xx to 5xx, "other"
)

// NewMetrics returns Metrics that know no listener yet.
func NewMetrics(s Sources) *Metrics {
	m := &Metrics{sources: s, reasons: map[string]int{}, reloads: map[reload]uint64{}, registry: prometheus.NewRegistry()}
	for _, code := range s.Reasons {
		if _, twice := m.reasons[code]; !twice {
			m.reasons[code] = len(m.reasons) + 1
		}
	}
	m.table.Store(&table{})
	m.Configure(nil)
	m.registry.MustRegister(m, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Configure takes the listeners, by ListenerID, and their routes. Call it before the first exchange under a new
// configuration. What keeps its name keeps its counts, whether it is retired or not; what is gone is forgotten, so that
// reloads do not add up. Listeners of one name, such as one that moves and the one it leaves, count together.
func (m *Metrics) Configure(listeners []roost.ListenerView) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.table.Load()
	known := map[string]*listener{}
	for _, l := range old.listeners {
		known[l.name] = l
	}
	t := &table{routes: map[string]*histogram{}, pools: map[string]*histogram{}}
	made := map[string]*listener{}
	for _, view := range append(slices.Clone(listeners), roost.ListenerView{}) {
		before := known[view.Name]
		if before == nil {
			before = &listener{refusals: make([]atomic.Uint64, len(m.reasons)+1)}
		}
		l := made[view.Name]
		if l == nil {
			l = &listener{name: view.Name, rows: map[routing]*row{}, current: map[*roost.Route]*row{}, refusals: before.refusals}
			made[view.Name] = l
		}
		for _, rt := range append(slices.Clone(view.Routes), &roost.Route{}) {
			whole := inherit(t.routes, old.routes, rt.Name)
			node := inherit(t.pools, old.pools, string(rt.PoolID))
			to := routing{rt.Name, string(rt.PoolID)}
			if l.rows[to] == nil {
				l.rows[to] = cmp.Or(before.rows[to], &row{whole: whole, node: node})
			}
			l.current[rt] = l.rows[to]
		}
		t.listeners = append(t.listeners, l)
	}
	m.table.Store(t)
}

// inherit returns the histogram of that name: the one that stands in heir, else the one of old, else a new one.
func inherit(heir, old map[string]*histogram, name string) *histogram {
	if heir[name] == nil {
		heir[name] = cmp.Or(old[name], new(histogram))
	}
	return heir[name]
}

// Observe counts one finished exchange. It takes no lock and allocates nothing. One that began before a reload and whose
// listener or route is gone counts under an empty name.
func (m *Metrics) Observe(r *roost.Record) {
	t := m.table.Load()
	l := t.listeners[min(int(r.Listener), len(t.listeners)-1)]
	w := l.current[r.Route]
	if w == nil {
		w = l.row(r.Route)
	}
	w.requests[min(int(r.Status)/100, classes-1)][r.Why].Add(1)
	if r.BytesIn > 0 {
		w.bytesIn.Add(uint64(r.BytesIn))
	}
	if r.BytesOut > 0 {
		w.bytesOut.Add(uint64(r.BytesOut))
	}
	if !r.Upgraded && r.Proto != roost.ProtoTCP { // how long a connection stayed open is no latency
		w.whole.add(r.Nanos)
	}
	if r.NodeNanos > 0 {
		w.node.add(r.NodeNanos)
	}
	if r.Reason != "" {
		l.refusals[m.reasons[r.Reason]].Add(1)
	}
}

// row is for a route that is not, or not any more, one of the configuration's own.
func (l *listener) row(rt *roost.Route) *row {
	if rt != nil {
		if w := l.rows[routing{rt.Name, string(rt.PoolID)}]; w != nil {
			return w
		}
	}
	return l.rows[routing{}]
}

// Reloaded counts a reload: by whom (signal, api, file) and whether it was done.
func (m *Metrics) Reloaded(by string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reloads[reload{by, ok}]++
}

// handler serves the registry.
func (m *Metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError, // some metrics are better than none
		MaxRequestsInFlight: maxScrapes,
	})
}
