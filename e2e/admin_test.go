package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAdminShowsWhatHappens(t *testing.T) {
	t.Parallel()
	b := serve(t, "--nodes", nodeList(echoes(t, 3)...))
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, _, body := b.ask(t, path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	client := newClient(t, false)
	for i := range 50 {
		get(t, client, b.url(fmt.Sprintf("/r/f%d", i%10)))
	}
	s := b.status(t)
	if !s.Ready || s.Draining || len(s.Listeners) != 1 || s.Listeners[0].Address != b.addr || len(s.Pools) != 1 || len(s.Pools[0].Nodes) != 3 {
		t.Errorf("status: %+v", s)
	}
	var requests uint64
	slots := 0
	for _, n := range s.Pools[0].Nodes {
		requests += n.Requests
		slots += n.Slots
		if n.InFlight != 0 || n.Duty != "up" || n.Effective != 1 {
			t.Errorf("an idle node: %+v", n)
		}
	}
	if requests != 50 || slots != s.Pools[0].Slots {
		t.Errorf("%d requests, %d slots with a home, want 50, %d", requests, slots, s.Pools[0].Slots)
	}
	_, header, metrics := b.ask(t, "/metrics")
	if !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
		t.Errorf("/metrics: content type %q", header.Get("Content-Type"))
	}
	for _, name := range metricNames {
		if !strings.Contains(metrics, "\n# TYPE "+name+" ") {
			t.Errorf("/metrics: %s is missing", name)
		}
	}
	if strings.Contains(metrics, "/r/f") {
		t.Error("/metrics: keys are labels; there is no bound on how many there are")
	}
}

func TestReadyzTellsOfDraining(t *testing.T) {
	t.Parallel()
	room := newRoom()
	b := serve(t, "--nodes", newNode(t, room), "--drain", "2s")
	conn := dialRoom(t, b.url("/rooms/1")) // holds the drain open
	defer conn.CloseNow()
	b.signal(t, syscall.SIGTERM)
	eventually(t, patience, func() string {
		code, _, body := b.ask(t, "/readyz")
		if code != http.StatusServiceUnavailable || !strings.Contains(body, "draining") {
			return fmt.Sprintf("/readyz: %d %s", code, body)
		}
		return ""
	})
	if code, _, _ := b.ask(t, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz while draining: %d, want 200: it lives", code)
	}
	b.wait(t, patience)
}

// TestAccessLogSaysWhoWhereAndWhy reads the log after the end, when all of it is written.
func TestAccessLogSaysWhoWhereAndWhy(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "access.log")
	b := serve(t, "--nodes", nodeList(echoes(t, 3)...), "--access-log", file, "--key", "{path[1]}", "--on-missing-key", "reject")
	client := newClient(t, false)
	at := map[string]string{}
	for i := range 30 {
		key := fmt.Sprintf("f%d-\"é", i)
		resp, _ := get(t, client, b.url("/r/"+strings.NewReplacer(`"`, "%22", "é", "%C3%A9").Replace(key)))
		at[key] = resp.Header.Get("Node")
	}
	resp, text, err := do(client, http.MethodGet, b.url("/"), nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(text, "key_missing") {
		t.Errorf("a request without key: %v %v %s", resp, err, text)
	}
	if code := b.term(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(string(log)))
	if len(lines) != len(at)+1 {
		t.Fatalf("%d lines, want %d\n%s", len(lines), len(at)+1, log)
	}
	for _, line := range lines { // in no order
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		if r["target"] == "/" {
			if r["status"] != 400.0 || r["reason"] != "key_missing" {
				t.Errorf("the refused request: %s", line)
			}
			continue
		}
		key, _ := r["key"].(string)
		if decoded := strings.NewReplacer("%22", `"`, "%C3%A9", "é").Replace(key); at[decoded] == "" || r["node"] != at[decoded] || r["why"] != "home" || r["status"] != 200.0 {
			t.Errorf("want key, node %q, why home and status 200: %s", at[decoded], line)
		}
		if when, err := time.Parse(time.RFC3339Nano, fmt.Sprint(r["ts"])); err != nil || time.Since(when) > time.Hour {
			t.Errorf("ts: %v\n%s", err, line)
		}
	}
}

// metricNames are series that dashboards and alerts stand on, all there after some traffic.
var metricNames = []string{"roost_requests_total", "roost_response_bytes_total", "roost_request_duration_seconds",
	"roost_node_duration_seconds", "roost_connections_active", "roost_pool_in_flight", "roost_pool_waiting", "roost_spills_total",
	"roost_retries_total", "roost_panics_total", "roost_table_epoch", "roost_table_slots", "roost_node_up", "roost_node_weight",
	"roost_node_pressure_ratio", "roost_node_in_flight", "roost_node_connections", "roost_node_requests_total",
	"roost_node_connect_failures_total", "roost_node_broken_total", "roost_node_errors_total", "roost_access_log_dropped_total",
	"roost_config_info", "roost_config_last_reload_success", "roost_config_last_reload_timestamp_seconds", "roost_store_up",
	"roost_revision", "roost_events_total", "roost_node_duty", "roost_admin_requests_total", "roost_build_info", "process_resident_memory_bytes", "go_goroutines"}
