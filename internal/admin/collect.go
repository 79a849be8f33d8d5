package admin

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"roost"
)

// The series; what each means stands in its help. Nothing writes to these.
var (
	requestsDesc = desc("requests_total", "Finished exchanges and raw connections, by class of status (none for raw ones) and by why they went to their node.",
		"listener", "route", "pool", "code_class", "why")
	bytesInDesc  = desc("request_bytes_total", "Bytes of request bodies, and of raw connections, from clients.", "listener", "route", "pool")
	bytesOutDesc = desc("response_bytes_total", "Bytes of response bodies, and of raw connections, to clients.", "listener", "route", "pool")
	wholeDesc    = desc("request_duration_seconds",
		"From the first byte of a request to the last of its answer. Upgraded and raw connections are left out.", "route")
	nodeSecondsDesc = desc("node_duration_seconds",
		"From the start of an exchange's last attempt to the node's response head.", "pool")
	refusalsDesc = desc("refusals_total", "Exchanges that ended with an answer of this balancer's own, or with none, by code.",
		"listener", "reason")
	connectionsDesc = desc("connections_active", "Open connections from clients.", "listener")
	certDesc        = desc("cert_expiry_seconds", "When the certificate expires, in seconds since 1970.", "listener", "file")

	poolInFlightDesc = desc("pool_in_flight", "Requests sent to nodes of the pool and not ended.", "pool")
	poolWaitingDesc  = desc("pool_waiting", "Requests that wait because every node is at its hard limit.", "pool")
	spillsDesc       = desc("spills_total", "Requests that went past their homes because of load.", "pool")
	retriesDesc      = desc("retries_total", "Attempts after the first.", "pool")
	panicsDesc       = desc("panics_total", "Requests sent although no node was fit: all dead, or not connectable a moment ago.", "pool")
	epochDesc        = desc("table_epoch", "Sequence number of the pool's table within its term.", "pool")
	slotsDesc        = desc("table_slots", "Slots of the pool's table.", "pool")

	nodeUpDesc          = desc("node_up", "0 when health holds the node for dead, else 1.", "pool", "node")
	nodeWeightDesc      = desc("node_weight", "Weight of the node now: 1 is ordinary, 0 takes nothing new.", "pool", "node")
	nodePressureDesc    = desc("node_pressure_ratio", "Load that the node last reported, decayed.", "pool", "node")
	nodeInFlightDesc    = desc("node_in_flight", "Requests sent to the node and not ended.", "pool", "node")
	nodeConnectionsDesc = desc("node_connections", "Upgraded and raw connections to the node.", "pool", "node")
	nodeRequestsDesc    = desc("node_requests_total", "Attempts at the node that ended.", "pool", "node")
	connectFailuresDesc = desc("node_connect_failures_total", "Connections to the node that failed.", "pool", "node")
	brokenDesc          = desc("node_broken_total", "Connections that broke before a whole response head.", "pool", "node")
	errorsDesc          = desc("node_errors_total", "Responses of the node with a status of 500 or more.", "pool", "node")

	nodeDutyDesc = desc("node_duty", "1 for what operators say of the node: up, joining, draining or down.", "pool", "node", "duty")

	reloadOKDesc   = desc("config_last_reload_success", "Whether the last reload was done; 0: the configuration in use is the one before.")
	reloadAtDesc   = desc("config_last_reload_timestamp_seconds", "When the last reload was tried, in seconds since 1970.")
	reloadsDesc    = desc("config_reloads_total", "Reloads, by who asked (signal, api, file) and by result (done, refused).", "by", "result")
	mistakesDesc   = desc("config_error_info", "The mistakes for which the last reload was refused, the first twenty.", "file", "line", "column", "code")
	storeUpDesc    = desc("store_up", "0 when the store takes no changes now. Traffic goes on.")
	revisionDesc   = desc("revision", "Revision of what was changed through the API.")
	eventsDesc     = desc("events_total", "Operators' log lines of level info and above.", "level")
	adminCallsDesc = desc("admin_requests_total", "Answers of the admin listeners, by class of status.", "code_class")

	longestTurnDesc = desc("loop_longest_turn_seconds", "The longest that the event loop was at work without a look at who else waits, since it was last asked.", "loop")
	turnsDesc       = desc("loop_turns_total", "Batches of events that the event loop has worked off.", "loop")
	loopConnsDesc   = desc("loop_connections", "Open connections from clients on the event loop.", "loop")
	acceptedDesc    = desc("loop_accepted_total", "Connections that the event loop has accepted.", "loop")
	givenDesc       = desc("loop_given_total", "Of those, the ones that it gave to a loop with fewer connections.", "loop")
	passedDesc      = desc("loop_passed_total", "Connections that the event loop passed on to the engine std, HTTP/2 above all.", "loop")
	restingDesc     = desc("loop_idle_node_connections", "Idle connections to nodes on the event loop.", "loop")
	shakenDesc      = desc("loop_handshakes_total", "TLS handshakes of the event loop, by result: done, or failed, too slow or too many.", "loop", "result")
	shakingDesc     = desc("loop_handshakes_active", "TLS handshakes under way, or waiting for their turn.", "loop")

	droppedDesc = desc("access_log_dropped_total", "Lines that the access log lost.")
	configDesc  = desc("config_info", "Digest of the configuration in use.", "digest")
	buildDesc   = desc("build_info", "Version of this balancer.", "version")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("roost_"+name, help, labels, nil)
}

// Describe sends nothing: which series there are depends on the configuration. The registry checks each scrape instead.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends what was counted and what the sources say now.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.collectCounts(ch)
	st := m.sources.Status()
	gauge(ch, buildDesc, 1, st.Version)
	gauge(ch, configDesc, 1, st.Config)
	m.collectReloads(ch, &st.Reload)
	gauge(ch, storeUpDesc, one(st.Store.Fault == ""))
	gauge(ch, revisionDesc, float64(st.Revision))
	if m.sources.Events != nil {
		for level, n := range m.sources.Events.ring.counted() {
			counter(ch, eventsDesc, n, level)
		}
	}
	for class := range m.admin {
		some(ch, adminCallsDesc, &m.admin[class], className(class))
	}
	collectCerts(ch, st.Listeners)
	for i := range st.Pools {
		collectPool(ch, &st.Pools[i])
	}
	if m.sources.Connections != nil {
		for name, n := range m.sources.Connections() {
			gauge(ch, connectionsDesc, float64(n), name)
		}
	}
	if m.sources.Loops != nil {
		collectLoops(ch, m.sources.Loops())
	}
	if m.sources.LogDropped != nil {
		counter(ch, droppedDesc, m.sources.LogDropped())
	}
}

// collectCounts sends what Observe counted. Series without a count are left out, or each route would have 84 of them.
func (m *Metrics) collectCounts(ch chan<- prometheus.Metric) {
	t := m.table.Load()
	sent := map[*listener]bool{}
	for _, l := range t.listeners {
		if sent[l] {
			continue // two of one name
		}
		sent[l] = true
		for to, w := range l.rows {
			for class := range w.requests {
				for why := range w.requests[class] {
					some(ch, requestsDesc, &w.requests[class][why], l.name, to.route, to.pool, className(class), roost.Why(why).String())
				}
			}
			some(ch, bytesInDesc, &w.bytesIn, l.name, to.route, to.pool)
			some(ch, bytesOutDesc, &w.bytesOut, l.name, to.route, to.pool)
		}
		some(ch, refusalsDesc, &l.refusals[0], l.name, "other")
		for code, i := range m.reasons {
			some(ch, refusalsDesc, &l.refusals[i], l.name, code)
		}
	}
	for route, h := range t.routes {
		h.collect(ch, wholeDesc, route)
	}
	for pool, h := range t.pools {
		h.collect(ch, nodeSecondsDesc, pool)
	}
}

func className(class int) string {
	switch class {
	case 0:
		return "none" // the client was gone before an answer
	case classes - 1:
		return "other"
	}
	return fmt.Sprintf("%dxx", class)
}

// maxMistakeSeries bounds the series of one bad configuration; the log and the API tell all of them.
const maxMistakeSeries = 20

func (m *Metrics) collectReloads(ch chan<- prometheus.Metric, last *roost.ReloadStatus) {
	m.mu.Lock()
	counts := maps.Clone(m.reloads)
	m.mu.Unlock()
	for kind, n := range counts {
		result := "refused"
		if kind.ok {
			result = "done"
		}
		counter(ch, reloadsDesc, n, kind.by, result)
	}
	if last.At.IsZero() {
		return // none yet
	}
	gauge(ch, reloadOKDesc, one(last.OK))
	gauge(ch, reloadAtDesc, float64(last.At.UnixMilli())/1000)
	sent := map[[4]string]bool{} // one place may have two mistakes of a kind, a series may not
	for _, e := range last.Errors {
		labels := [4]string{e.File, place(e.Line), place(e.Column), e.Code}
		if !sent[labels] && len(sent) < maxMistakeSeries {
			gauge(ch, mistakesDesc, 1, labels[:]...)
			sent[labels] = true
		}
	}
}

// place is a line or a column; mistakes in flags have none.
func place(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func collectCerts(ch chan<- prometheus.Metric, listeners []roost.ListenerStatus) {
	sent := map[[2]string]bool{} // a file may be listed twice, and a name while its listener moves; a series may not
	for _, l := range listeners {
		for _, c := range l.Certificates {
			if labels := [2]string{l.Name, c.File}; !sent[labels] {
				gauge(ch, certDesc, float64(c.NotAfter.Unix()), l.Name, c.File)
				sent[labels] = true
			}
		}
	}
}

func collectLoops(ch chan<- prometheus.Metric, loops []roost.LoopStats) {
	for i, l := range loops {
		loop := strconv.Itoa(i)
		gauge(ch, longestTurnDesc, l.LongestTurn.Seconds(), loop)
		counter(ch, turnsDesc, uint64(l.Turns), loop)
		gauge(ch, loopConnsDesc, float64(l.Connections), loop)
		counter(ch, acceptedDesc, uint64(l.Accepted), loop)
		counter(ch, givenDesc, uint64(l.Given), loop)
		counter(ch, passedDesc, uint64(l.Passed), loop)
		gauge(ch, restingDesc, float64(l.Resting), loop)
		counter(ch, shakenDesc, uint64(l.Shaken), loop, "done")
		counter(ch, shakenDesc, uint64(l.Unshaken), loop, "failed")
		gauge(ch, shakingDesc, float64(l.Shaking), loop)
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func collectPool(ch chan<- prometheus.Metric, p *roost.PoolStatus) {
	pool := string(p.ID)
	gauge(ch, poolInFlightDesc, float64(p.InFlight), pool)
	gauge(ch, poolWaitingDesc, float64(p.Waiting), pool)
	counter(ch, spillsDesc, p.Spills, pool)
	counter(ch, retriesDesc, p.Retries, pool)
	counter(ch, panicsDesc, p.Panics, pool)
	gauge(ch, slotsDesc, float64(p.Slots), pool)
	var era, term, seq uint64
	if _, err := fmt.Sscanf(p.Epoch, "%d.%d.%d", &era, &term, &seq); err == nil { // as roost.Epoch writes itself
		gauge(ch, epochDesc, float64(seq), pool)
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		node := string(n.ID)
		gauge(ch, nodeUpDesc, one(n.Verdict != roost.Dead.String()), pool, node)
		gauge(ch, nodeDutyDesc, 1, pool, node, n.Duty)
		gauge(ch, nodeWeightDesc, n.Effective, pool, node)
		gauge(ch, nodePressureDesc, n.Pressure, pool, node)
		gauge(ch, nodeInFlightDesc, float64(n.InFlight), pool, node)
		gauge(ch, nodeConnectionsDesc, float64(n.Connections), pool, node)
		counter(ch, nodeRequestsDesc, n.Requests, pool, node)
		counter(ch, connectFailuresDesc, n.ConnectFail, pool, node)
		counter(ch, brokenDesc, n.Broken, pool, node)
		counter(ch, errorsDesc, n.Errors, pool, node)
	}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, valid(labels...)...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, n uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), valid(labels...)...)
}

// some sends a counter that has counted.
func some(ch chan<- prometheus.Metric, d *prometheus.Desc, n *atomic.Uint64, labels ...string) {
	if n := n.Load(); n > 0 {
		counter(ch, d, n, labels...)
	}
}

// valid makes label values fit for Prometheus, which knows UTF-8 only. It changes labels.
func valid(labels ...string) []string {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\ufffd")
	}
	return labels
}
