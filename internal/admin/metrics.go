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
	Connections func() map[string]int64 // open client connections by listener name; nil: not shown
	LogDropped  func() uint64           // lines that the access log lost; nil: not shown
	Events      *Events                 // nil: not shown
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

	mu sync.Mutex // one Configure at a time
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
	rows     map[string]*row // by route name; "" when none matched
	refusals []atomic.Uint64 // by Metrics.reasons
}

// row is what is counted of one route on one listener.
type row struct {
	pool              string
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
	m := &Metrics{sources: s, reasons: map[string]int{}, registry: prometheus.NewRegistry()}
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
// configuration. What keeps its name keeps its counts; what is gone is forgotten, so that reloads do not add up.
func (m *Metrics) Configure(listeners []roost.ListenerView) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.table.Load()
	known := map[string]*listener{}
	for _, l := range old.listeners {
		known[l.name] = l
	}
	t := &table{routes: map[string]*histogram{}, pools: map[string]*histogram{}}
	for _, view := range append(slices.Clone(listeners), roost.ListenerView{}) {
		before := known[view.Name]
		if before == nil {
			before = &listener{refusals: make([]atomic.Uint64, len(m.reasons)+1)}
		}
		l := &listener{name: view.Name, rows: map[string]*row{}, refusals: before.refusals}
		for _, rt := range append(slices.Clone(view.Routes), &roost.Route{}) {
			whole := inherit(t.routes, old.routes, rt.Name)
			node := inherit(t.pools, old.pools, string(rt.PoolID))
			w := before.rows[rt.Name]
			if w == nil || w.pool != string(rt.PoolID) {
				w = &row{pool: string(rt.PoolID), whole: whole, node: node}
			}
			l.rows[rt.Name] = w
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
	name := ""
	if r.Route != nil {
		name = r.Route.Name
	}
	w := l.rows[name]
	if w == nil {
		w = l.rows[""]
	}
	w.requests[min(int(r.Status)/100, classes-1)][r.Why].Add(1)
	if r.BytesIn > 0 {
		w.bytesIn.Add(uint64(r.BytesIn))
	}
	if r.BytesOut > 0 {
		w.bytesOut.Add(uint64(r.BytesOut))
	}
	if !r.Upgraded { // how long a WebSocket stayed open is no latency
		w.whole.add(r.Nanos)
	}
	if r.NodeNanos > 0 {
		w.node.add(r.NodeNanos)
	}
	if r.Reason != "" {
		l.refusals[m.reasons[r.Reason]].Add(1)
	}
}

// Reloaded counts a reload: by whom (start, signal, api, file) and whether it was done.
func (m *Metrics) Reloaded(by string, ok bool) {}

// handler serves the registry.
func (m *Metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError, // some metrics are better than none
		MaxRequestsInFlight: maxScrapes,
	})
}
