package fnlb

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"roost"
)

// ask sends one request and returns status, Content-Type and the exact body.
func ask(t *testing.T, h http.Handler, method, path, body string) (int, string, string) {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	req, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl -d has it
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

const plain = "text/plain; charset=utf-8"

// The bodies are fnlb's own, byte for byte, as recorded from fnproject/lb at 1fc19e9.
func TestTheAPIAnswersWithFnlbsBytes(t *testing.T) {
	tests := []struct {
		name, method, path, body string
		status                   int
		kind, want               string
	}{
		{"nodes", "GET", "/1/lb/nodes", "", 200, plain, `{"nodes":{"127.0.0.1:21001":"online","127.0.0.1:22002":"online","127.0.0.1:29999":"offline"}}` + "\n"},
		{"add", "PUT", "/1/lb/nodes", `{"node":"127.0.0.1:1"}`, 200, plain, `{"msg":"node added"}` + "\n"},
		{"add again", "PUT", "/1/lb/nodes", `{"node":"127.0.0.1:21001"}`, 200, plain, `{"msg":"node added"}` + "\n"},
		{"any case", "PUT", "/1/lb/nodes", `{"Node":"127.0.0.1:1"}`, 200, plain, `{"msg":"node added"}` + "\n"},
		{"add nothing", "PUT", "/1/lb/nodes", `{"node":""}`, 200, plain, `{"msg":"node added"}` + "\n"},
		{"delete", "DELETE", "/1/lb/nodes", `{"node":"127.0.0.1:21001"}`, 200, plain, `{"msg":"node deleted"}` + "\n"},
		{"delete unknown", "DELETE", "/1/lb/nodes", `{"node":"127.0.0.1:7"}`, 200, plain, `{"msg":"node deleted"}` + "\n"},
		{"bad JSON", "PUT", "/1/lb/nodes", `nope`, 400, plain, `{"msg":"invalid character 'o' in literal null (expecting 'u')"}` + "\n"},
		{"no body", "PUT", "/1/lb/nodes", ``, 400, plain, `{"msg":"EOF"}` + "\n"},
		{"no body to delete", "DELETE", "/1/lb/nodes", ``, 400, plain, `{"msg":"EOF"}` + "\n"},
		{"another method", "POST", "/1/lb/nodes", `{"node":"127.0.0.1:1"}`, 200, "", ""},
		{"one that is unknown", "BREW", "/1/lb/nodes", ``, 200, "", ""},
		{"no statistics", "GET", "/1/lb/stats", "", 200, plain, `{"stats":null}` + "\n"},
		{"statistics by any method", "POST", "/1/lb/stats", "x", 200, plain, `{"stats":null}` + "\n"},
		{"an unknown path", "GET", "/1/lb/other", "", 404, plain, `{"msg":"unknown command"}` + "\n"},
		{"the root", "GET", "/", "", 404, plain, `{"msg":"unknown command"}` + "\n"},
		{"a body without end", "PUT", "/1/lb/nodes", `{"node":"` + strings.Repeat("x", maxBody), 413, plain, `{"msg":"http: request body too large"}` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &balancer{verdicts: map[roost.NodeID]roost.Verdict{"127.0.0.1:21001": roost.Well, "127.0.0.1:22002": roost.Ailing, "127.0.0.1:29999": roost.Unproven}}
			lb := b.lb(t)
			if _, err := lb.Begin(t.Context(), []string{"127.0.0.1:29999", "127.0.0.1:21001", "127.0.0.1:22002"}); err != nil {
				t.Fatal(err)
			}
			status, kind, body := ask(t, lb.Handler(), tt.method, tt.path, tt.body)
			if status != tt.status || kind != tt.kind || body != tt.want {
				t.Errorf("%d %q %q, want %d %q %q", status, kind, body, tt.status, tt.kind, tt.want)
			}
		})
	}
}

func TestWithoutNodesTheListIsAnEmptyObject(t *testing.T) {
	if _, _, body := ask(t, new(balancer).lb(t).Handler(), "GET", "/1/lb/nodes", ""); body != `{"nodes":{}}`+"\n" {
		t.Errorf("%q", body)
	}
}

func TestATableThatFailsIsAnErrorWithItsWords(t *testing.T) {
	b := &balancer{table: table{fault: errTable}}
	for _, method := range []string{"PUT", "DELETE"} {
		status, _, body := ask(t, b.lb(t).Handler(), method, "/1/lb/nodes", `{"node":"a:1"}`)
		if status != 500 || body != `{"msg":"database is locked"}`+"\n" {
			t.Errorf("%s: %d %q", method, status, body)
		}
	}
}

func TestAChangeReachesTheBalancerAtOnceAndGarbageStaysOffline(t *testing.T) {
	b := &balancer{verdicts: map[roost.NodeID]roost.Verdict{"a:1": roost.Well}}
	lb := b.lb(t)
	for _, n := range []string{"a:1", "garbage", ""} {
		ask(t, lb.Handler(), "PUT", "/1/lb/nodes", `{"node":"`+n+`"}`)
	}
	if ids := b.last(t); len(ids) != 1 || ids[0] != "a:1" {
		t.Errorf("the balancer was told %q", ids)
	}
	if _, _, body := ask(t, lb.Handler(), "GET", "/1/lb/nodes", ""); body != `{"nodes":{"":"offline","a:1":"online","garbage":"offline"}}`+"\n" {
		t.Errorf("%q", body)
	}
	ask(t, lb.Handler(), "DELETE", "/1/lb/nodes", `{"node":"a:1"}`)
	if ids := b.last(t); len(ids) != 0 {
		t.Errorf("after the delete the balancer was told %q", ids)
	}
}

func TestWhoMayCallCannotFillTheTableWithoutEnd(t *testing.T) {
	b := new(balancer)
	for i := range maxRows {
		b.table.rows = append(b.table.rows, fmt.Sprintf("10.0.%d.%d:80", i/256, i%256))
	}
	lb := b.lb(t)
	if _, err := lb.Begin(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	put := func(node string) (int, string) {
		status, _, body := ask(t, lb.Handler(), "PUT", "/1/lb/nodes", `{"node":"`+node+`"}`)
		return status, body
	}
	if status, body := put("10.1.0.0:80"); status != 500 || body != `{"msg":"the table has 4096 nodes; delete some first"}`+"\n" || len(b.table.rows) != maxRows {
		t.Errorf("one more: %d %s", status, body)
	}
	if status, body := put("10.0.0.7:80"); status != 200 {
		t.Errorf("one that is there: %d %s", status, body)
	}
	if status, _, body := ask(t, lb.Handler(), "DELETE", "/1/lb/nodes", `{"node":"10.0.0.7:80"}`); status != 200 {
		t.Fatalf("delete: %d %s", status, body)
	}
	if status, body := put("10.1.0.0:80"); status != 200 {
		t.Errorf("one in place of another: %d %s", status, body)
	}
}

func TestStatisticsAreOnePerNodePathAndSecondAndReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lb := new(balancer).lb(t)
		at := func(after time.Duration) int64 {
			return time.Date(2026, 11, 20, 17, 10, 59, 647620552, time.UTC).Add(after).UnixNano()
		}
		see := func(after time.Duration, node roost.NodeID, target string, wait time.Duration) {
			lb.Observe(&roost.Record{Pool: Pool, Node: node, Target: target, Status: 200, Start: at(after), Wait: int64(wait)})
		}
		see(0, "a:1", "/r/app2/x?q=1", 0)
		see(100*time.Millisecond, "a:1", "/r/app2/x", time.Second)
		see(200*time.Millisecond, "b:1", "/r/app2/x", 0)
		lb.Observe(&roost.Record{Pool: ownPool, Node: "self", Target: "/1/lb/stats", Status: 200, Start: at(0)})
		lb.Observe(&roost.Record{Pool: Pool, Target: "/refused", Status: 503, Start: at(0)})
		lb.stats.gather(time.Unix(0, at(time.Second)))
		see(1500*time.Millisecond, "a:1", "/r/app2/x", 0)
		got := lb.stats.take(time.Unix(0, at(2*time.Second)))
		var text []string
		for _, e := range got {
			text = append(text, e.Timestamp.Format(time.RFC3339Nano)+" "+e.Node+" "+e.Func)
			if e.TP == 2 && e.Wait != 0.5 {
				t.Errorf("mean wait %v, want 0.5", e.Wait)
			}
		}
		want := "2026-11-20T17:10:59.647620552Z a:1 /r/app2/x\n2026-11-20T17:10:59.847620552Z b:1 /r/app2/x\n2026-11-20T17:11:01.147620552Z a:1 /r/app2/x"
		if s := strings.Join(text, "\n"); s != want {
			t.Errorf("got\n%s\nwant\n%s", s, want)
		}
		if again := lb.stats.take(time.Unix(0, at(2*time.Second))); again != nil {
			t.Errorf("a second read has %v", again)
		}
	})
}

func TestAnEntryHasFnlbsForm(t *testing.T) {
	lb := new(balancer).lb(t)
	lb.Observe(&roost.Record{Pool: Pool, Node: "127.0.0.1:21003", Target: "/r/app2/x", Status: 200, Start: time.Now().UnixNano()})
	_, _, body := ask(t, lb.Handler(), "GET", "/1/lb/stats", "")
	head, tail, ok := strings.Cut(body, `"timestamp":"`)
	stamp, rest, _ := strings.Cut(tail, `"`)
	if _, err := time.Parse(time.RFC3339Nano, stamp); !ok || err != nil || head != `{"stats":[{` ||
		rest != `,"tp":1,"node":"127.0.0.1:21003","func":"/r/app2/x","wait":0}]}`+"\n" {
		t.Errorf("%q", body)
	}
}

func TestStatisticsNobodyReadsAreForgottenAndBounded(t *testing.T) {
	var s stats
	now := time.Unix(1e9, 0)
	s.gather(now)
	for i := range 10 * maxEntries {
		s.add(now, 0, place{"a:1", string(rune(i))})
	}
	if len(s.open) > maxEntries {
		t.Errorf("%d entries are open", len(s.open))
	}
	for i := range 3 {
		s.gather(now.Add(time.Duration(i+1) * time.Second))
	}
	if len(s.done) == 0 || len(s.done) > maxEntries {
		t.Errorf("%d entries wait", len(s.done))
	}
	s.gather(now.Add(2 * time.Minute))
	if len(s.done) != 0 {
		t.Errorf("%d entries are older than a minute", len(s.done))
	}
}

func TestObserveAllocatesNothingAndAFullRingOnlyLosesCounts(t *testing.T) {
	lb := new(balancer).lb(t)
	r := &roost.Record{Pool: Pool, Node: "a:1", Target: "/" + strings.Repeat("x", 2*pathLen), Status: 200, Start: time.Now().UnixNano()}
	if n := testing.AllocsPerRun(2*ringLen, func() { lb.Observe(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	got := lb.stats.take(time.Now())
	if len(got) != 1 || got[0].TP != ringLen || len(got[0].Func) != pathLen {
		t.Errorf("%d entries, %+v", len(got), got[0])
	}
}

func TestTheDashboardAsksNobodyElse(t *testing.T) {
	status, kind, body := ask(t, new(balancer).lb(t).Handler(), "GET", "/1/lb/dash", "")
	if status != 200 || !strings.HasPrefix(kind, "text/html") {
		t.Errorf("%d %s", status, kind)
	}
	for _, no := range []string{"http:", "https:", "src=", "@import", "url("} {
		if strings.Contains(strings.ReplaceAll(body, "http://www.w3.org/2000/svg", ""), no) {
			t.Errorf("the page holds %q", no)
		}
	}
	for _, path := range []string{`"/1/lb/"`, `"stats"`, `"nodes"`} {
		if !strings.Contains(body, path) {
			t.Errorf("the page does not ask %s", path)
		}
	}
}
