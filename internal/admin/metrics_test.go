package admin

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"roost"
)

var update = flag.Bool("update", false, "rewrite golden files")

var (
	functions = &roost.Route{Name: "functions", PoolID: "fn"}
	site      = &roost.Route{Name: "site", PoolID: "web"}
)

func views() []roost.ListenerView {
	return []roost.ListenerView{
		{Name: "public", Routes: []*roost.Route{functions, site}},
		{Name: "inside", Routes: []*roost.Route{functions}},
	}
}

// state is a balancer as it may be found: two pools, one dead node, one draining.
func state() roost.Status {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	return roost.Status{
		Version: "1.2.3", Cluster: "demo", Started: at, Ready: true, Config: "0123456789ab", Snapshot: 7, Revision: 42,
		Store: roost.StoreStatus{Kind: "sqlite", Path: "/var/lib/roost/roost.db", Fault: "the disk is full"},
		Reload: roost.ReloadStatus{At: at.Add(90500 * time.Millisecond), By: "file", Errors: []roost.Mistake{
			{File: "/etc/roost.yaml", Line: 3, Column: 5, Path: "listeners.web", Code: "unknown_setting", Message: "unknown setting \"adress\"", Fix: "did you mean \"address\"?"},
			{File: "/etc/roost.yaml", Line: 3, Column: 5, Code: "unknown_setting", Message: "the same place once more"},
			{Code: "value", Message: "no file, no line"},
		}},
		Listeners: []roost.ListenerStatus{
			{Name: "public", Address: ":443", TLS: true, Certificates: []roost.CertStatus{
				{File: "/etc/roost/a.pem", Names: []string{"a.example"}, NotAfter: at.Add(720 * time.Hour)},
				{File: "/etc/roost/a.pem", Names: []string{"a.example"}, NotAfter: at.Add(720 * time.Hour)},
			}},
			{Name: "inside", Address: "127.0.0.1:8080"},
			{Name: "public", Address: ":8443", TLS: true, Retired: true, Connections: 1, Certificates: []roost.CertStatus{
				{File: "/etc/roost/a.pem", Names: []string{"a.example"}, NotAfter: at.Add(720 * time.Hour)},
			}},
		},
		Pools: []roost.PoolStatus{
			{ID: "fn", Epoch: "1.4.27-0a0b0c0d", Digest: "feedface0000", Slots: 4096, Homes: 3, Pins: 1, InFlight: 12, Waiting: 2,
				Spills: 30, Retries: 4, Panics: 1, Nodes: []roost.NodeStatus{
					{ID: "10.0.0.1:80", Address: "10.0.0.1:80", Zone: "a", Sources: []string{"file"}, Duty: "up", Verdict: "well", Since: at, Weight: 1,
						Effective: 1, Slots: 2048, InFlight: 12, Connections: 3, Pressure: 0.25, Requests: 1000, ConnectFail: 1,
						Broken: 2, Errors: 5},
					{ID: "n2", Address: "10.0.0.2:80", Sources: []string{"api", "file"}, Duty: "draining", Held: &roost.Held{Cause: "operator", Since: at}, Verdict: "dead", Reason: "connect: refused", Since: at,
						Weight: 2, Slots: 2048},
				}},
			{ID: "web", Epoch: "none"},
		},
	}
}

func sources() Sources {
	return Sources{
		Status:      state,
		Connections: func() map[string]int64 { return map[string]int64{"public": 40, "inside": 2} },
		LogDropped:  func() uint64 { return 9 },
		Loops: func() []roost.LoopStats {
			return []roost.LoopStats{{Turns: 70, LongestTurn: 1500 * time.Microsecond, Connections: 3, Accepted: 9, Given: 2, Passed: 1, Resting: 4, Shaken: 6, Unshaken: 5, Shaking: 2}, {Turns: 1}}
		},
		Reasons: []string{"node_unreachable", "queue_timeout", "head_invalid", "head_invalid"},
	}
}

// counted are Metrics after a few exchanges of each kind.
func counted() *Metrics {
	s := sources()
	s.Events = NewEvents(slog.DiscardHandler)
	slog.New(s.Events).Warn("something changed")
	m := NewMetrics(s)
	m.Configure(views())
	m.Reloaded("api", true)
	m.Reloaded("file", false)
	m.Reloaded("file", false)
	for _, r := range []roost.Record{
		{Route: functions, Why: roost.WhyHome, Status: 200, BytesIn: 10, BytesOut: 100, Nanos: 2e6, NodeNanos: 1e6},
		{Route: functions, Why: roost.WhyHome, Status: 204, Nanos: 70e9, NodeNanos: 3e6},
		{Route: functions, Why: roost.WhySpill, Status: 200, BytesOut: 1, Nanos: 500_000, NodeNanos: 400_000},
		{Listener: 1, Route: functions, Why: roost.WhyRetry, Status: 502, Reason: "node_unreachable", Nanos: 1},
		{Route: site, Why: roost.WhyBalance, Status: 101, Upgraded: true, BytesIn: 5, BytesOut: 6, Nanos: 3600e9, NodeNanos: 2e6},
		{Route: site, Why: roost.WhyHome, Proto: roost.ProtoTCP, BytesIn: 1, BytesOut: 2, Nanos: 3600e9, NodeNanos: 2e6},
		{Status: 400, Reason: "head_invalid", Nanos: 1000},
		{Status: 400, Reason: "not one of ours", Nanos: -5},
		{Why: roost.WhyPanic, Route: site, Nanos: 1000}, // the client was gone
		{Listener: 9, Route: site, Status: 999, Nanos: 1000},
	} {
		m.Observe(&r)
	}
	return m
}

// exposition is what a scraper reads, without the metrics of the Go runtime and the process, and without the count of
// scrapes themselves.
func exposition(t *testing.T, m *Metrics) string {
	t.Helper()
	o := options()
	o.Metrics = m
	w := call(New(o), "GET", "/metrics", "")
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	body := w.Body.String()
	var ours []string
	for line := range strings.Lines(body) {
		if regexp.MustCompile(`^(# (HELP|TYPE) )?roost_`).MatchString(line) && !strings.Contains(line, "roost_admin_requests_total") {
			ours = append(ours, line)
		}
	}
	if len(ours) == strings.Count(body, "\n") {
		t.Error("the metrics of the runtime and the process are missing")
	}
	return strings.Join(ours, "")
}

// value is the value of one series, 0 when it is not there.
func value(t *testing.T, text, series string) (v float64) {
	t.Helper()
	if _, after, ok := strings.Cut("\n"+text, "\n"+series+" "); ok {
		if _, err := fmt.Sscan(after, &v); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; see the diff after -update:\n%s", file, got)
	}
}

func TestTheExpositionIsAsInTheGoldenFile(t *testing.T) {
	golden(t, "testdata/metrics.golden", exposition(t, counted()))
}

func TestTheExpositionFollowsPrometheusRules(t *testing.T) {
	problems, err := promlint.New(bytes.NewReader([]byte(exposition(t, counted())))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestCountsSurviveAReload(t *testing.T) {
	m := counted()
	before := exposition(t, m)
	for range 3 {
		m.Configure(views())
	}
	if after := exposition(t, m); after != before {
		t.Errorf("changed by a reload of the same:\n%s\nbefore:\n%s", after, before)
	}
	// Listeners change places, a route goes away, another comes.
	fresh := &roost.Route{Name: "fresh", PoolID: "fn"}
	m.Configure([]roost.ListenerView{{Name: "inside", Routes: []*roost.Route{functions, fresh}}, {Name: "public", Routes: []*roost.Route{functions}}})
	m.Observe(&roost.Record{Listener: 1, Route: functions, Why: roost.WhyHome, Status: 200, Nanos: 1})
	m.Observe(&roost.Record{Listener: 1, Route: site, Why: roost.WhyHome, Status: 200, Nanos: 1}) // began before
	text := exposition(t, m)
	for series, want := range map[string]float64{
		`roost_requests_total{code_class="2xx",listener="public",pool="fn",route="functions",why="home"}`:  3,
		`roost_requests_total{code_class="5xx",listener="inside",pool="fn",route="functions",why="retry"}`: 1,
		`roost_requests_total{code_class="2xx",listener="public",pool="",route="",why="home"}`:             1,
		`roost_request_duration_seconds_count{route="functions"}`:                                          5,
		`roost_node_duration_seconds_count{pool="fn"}`:                                                     3,
		`roost_refusals_total{listener="public",reason="head_invalid"}`:                                    1,
	} {
		if got := value(t, text, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	if strings.Contains(text, `route="site"`) {
		t.Error("a route that is gone still has series")
	}
	// A route that leads elsewhere counts apart.
	elsewhere := &roost.Route{Name: "functions", PoolID: "web"}
	m.Configure([]roost.ListenerView{{Name: "public", Routes: []*roost.Route{elsewhere}}})
	m.Observe(&roost.Record{Route: elsewhere, Why: roost.WhyHome, Status: 200, Nanos: 1})
	series := `roost_requests_total{code_class="2xx",listener="public",pool="web",route="functions",why="home"}`
	if got := value(t, exposition(t, m), series); got != 1 {
		t.Errorf("%s is %v, want 1", series, got)
	}
}

// A listener that moves to another address is there twice for a while, and those out of use leave holes.
func TestRetiredListenersKeepTheirCounts(t *testing.T) {
	m := counted()
	old, moved := roost.ListenerView{Name: "public", Routes: []*roost.Route{functions, site}, Retired: true},
		roost.ListenerView{Name: "public", Routes: []*roost.Route{functions}}
	m.Configure([]roost.ListenerView{old, {}, {}, moved})
	m.Observe(&roost.Record{Listener: 0, Route: functions, Why: roost.WhyHome, Status: 200, Nanos: 1})
	m.Observe(&roost.Record{Listener: 0, Route: site, Why: roost.WhyHome, Status: 200, Nanos: 1})
	m.Observe(&roost.Record{Listener: 3, Route: functions, Why: roost.WhyHome, Status: 200, Nanos: 1})
	m.Configure([]roost.ListenerView{old, {}, {}, moved})
	text := exposition(t, m)
	for series, want := range map[string]float64{
		`roost_requests_total{code_class="2xx",listener="public",pool="fn",route="functions",why="home"}`: 4,
		`roost_requests_total{code_class="2xx",listener="public",pool="web",route="site",why="home"}`:     1,
		`roost_refusals_total{listener="public",reason="head_invalid"}`:                                   1,
	} {
		if got := value(t, text, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	m.Configure([]roost.ListenerView{{}, {}, {}, moved}) // its last connection is gone
	text = exposition(t, m)
	if strings.Contains(text, `route="site"`) || value(t, text, `roost_refusals_total{listener="public",reason="head_invalid"}`) != 1 {
		t.Errorf("after the old one is gone:\n%s", text)
	}
}

func TestAReloadIsToldBySeries(t *testing.T) {
	s := sources()
	st := state()
	s.Status = func() roost.Status { return st }
	m := NewMetrics(s)
	at := func(series string) float64 { t.Helper(); return value(t, exposition(t, m), series) }
	place := `roost_config_error_info{code="unknown_setting",column="5",file="/etc/roost.yaml",line="3"}`
	if at(place) != 1 || strings.Contains(exposition(t, m), "roost_config_last_reload_success 1") {
		t.Error("a refused reload does not show")
	}
	st.Reload.Errors = nil
	for i := range 100 {
		st.Reload.Errors = append(st.Reload.Errors, roost.Mistake{File: "f", Line: i, Code: "value"})
	}
	if n := strings.Count(exposition(t, m), "\nroost_config_error_info{"); n != maxMistakeSeries {
		t.Errorf("%d series of mistakes", n)
	}
	st.Reload = roost.ReloadStatus{At: st.Reload.At, By: "api", OK: true}
	if at("roost_config_last_reload_success") != 1 || strings.Contains(exposition(t, m), "roost_config_error_info") {
		t.Error("a reload that was done leaves mistakes behind")
	}
	st.Store.Fault = ""
	if at("roost_store_up") != 1 {
		t.Error("a store that is well is down")
	}
}

func TestAnswersAreCountedByClass(t *testing.T) {
	o := options()
	s := New(o)
	for _, target := range []string{"/healthz", "/none", "/api/v1/none", "/api/v1/status"} {
		call(s, "GET", target, "")
	}
	body := call(s, "GET", "/metrics", "").Body.String()
	if value(t, body, `roost_admin_requests_total{code_class="2xx"}`) != 2 || value(t, body, `roost_admin_requests_total{code_class="4xx"}`) != 2 {
		t.Error(body)
	}
}

func TestNamesThatAreNotUTF8DoNotBreakAScrape(t *testing.T) {
	s := sources()
	s.Status = func() roost.Status {
		return roost.Status{Version: "\xff", Pools: []roost.PoolStatus{{ID: "a\xffb", Epoch: "\xff"}}}
	}
	m := NewMetrics(s)
	bad := &roost.Route{Name: "r\xff", PoolID: "p\xff"}
	m.Configure([]roost.ListenerView{{Name: "l\xff", Routes: []*roost.Route{bad}}})
	m.Observe(&roost.Record{Route: bad, Status: 200, Nanos: 1, NodeNanos: 1})
	if text := exposition(t, m); !strings.Contains(text, "r\ufffd") || !strings.Contains(text, "a\ufffdb") {
		t.Errorf("series are missing:\n%s", text)
	}
}

func TestNothingIsLostWhenCountingReloadingAndScrapingMeet(t *testing.T) {
	m := NewMetrics(sources())
	m.Configure(views())
	const writers, each = 4, 20_000
	var counting sync.WaitGroup
	for range writers {
		counting.Go(func() {
			r := roost.Record{Route: functions, Why: roost.WhyHome, Status: 200, BytesOut: 1, Nanos: 2e6, NodeNanos: 1e6, Reason: "x"}
			for range each {
				m.Observe(&r)
			}
		})
	}
	for range 20 {
		m.Configure(views())
		if _, err := m.registry.Gather(); err != nil {
			t.Error(err)
		}
	}
	counting.Wait()
	text := exposition(t, m)
	for _, series := range []string{
		`roost_requests_total{code_class="2xx",listener="public",pool="fn",route="functions",why="home"}`,
		`roost_response_bytes_total{listener="public",pool="fn",route="functions"}`,
		`roost_request_duration_seconds_count{route="functions"}`,
		`roost_request_duration_seconds_bucket{route="functions",le="0.0025"}`,
		`roost_node_duration_seconds_count{pool="fn"}`,
		`roost_refusals_total{listener="public",reason="other"}`,
	} {
		if got := value(t, text, series); got != writers*each {
			t.Errorf("%s is %v, want %d", series, got, writers*each)
		}
	}
}

func TestEveryWhyHasItsCounter(t *testing.T) {
	if last := roost.Why(whys - 1).String(); last == "" {
		t.Errorf("why %d has no name", whys-1)
	}
	defer func() {
		if recover() == nil {
			t.Errorf("the dictionary has grown: %s is not counted", roost.Why(whys))
		}
	}()
	_ = roost.Why(whys).String()
}

func TestCountingAllocatesNothing(t *testing.T) {
	m := counted()
	r := roost.Record{Route: functions, Why: roost.WhyHome, Status: 502, BytesIn: 1, BytesOut: 1, Nanos: 2e6, NodeNanos: 1e6,
		Reason: "node_unreachable"}
	if n := testing.AllocsPerRun(100, func() { m.Observe(&r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	m := counted()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := roost.Record{Route: functions, Why: roost.WhyHome, Status: 200, BytesOut: 1000, Nanos: 2e6, NodeNanos: 1e6}
		for pb.Next() {
			m.Observe(&r)
		}
	})
}

// BenchmarkScrape is one scrape of 100 routes and 500 nodes.
func BenchmarkScrape(b *testing.B) {
	s := sources()
	st := state()
	for i := range 500 {
		st.Pools[0].Nodes = append(st.Pools[0].Nodes, roost.NodeStatus{ID: roost.NodeID(fmt.Sprint("node", i))})
	}
	s.Status = func() roost.Status { return st }
	m := NewMetrics(s)
	var routes []*roost.Route
	for i := range 100 {
		routes = append(routes, &roost.Route{Name: fmt.Sprint("route", i), PoolID: "fn"})
	}
	m.Configure([]roost.ListenerView{{Name: "public", Routes: routes}})
	for _, rt := range routes {
		for why := range whys {
			m.Observe(&roost.Record{Route: rt, Why: roost.Why(why), Status: 200, Nanos: 1e6, NodeNanos: 1e6})
		}
	}
	for b.Loop() {
		if _, err := m.registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
