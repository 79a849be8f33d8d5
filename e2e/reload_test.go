package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"roost"
	"roost/internal/api"
)

// TestAHundredReloadsDropNothing reloads in every way there is, under 500 WebSockets and 1,000 requests/s: nodes, weights,
// homes, keys, routes, pools, limits, listeners, logs.
func TestAHundredReloadsDropNothing(t *testing.T) {
	const reloads, sockets, rate = 100, 500, 1000
	needQuiet(t, rate)
	nodes := lounges(t, 3)
	dir := t.TempDir()
	file, more := filepath.Join(dir, "roost.yaml"), freePort(t)
	web, admin := freePort(t), freePort(t)
	// What follows the number of the reload makes it differ from those before.
	versions := []string{
		`listeners: { web: { address: "WEB" } }
pools: { fn: { nodes: [ "n1=N1", "n2=N2*2", "n3=N3" ], homes: 2, limits: { idle_timeout: NUMBERs } } }`,
		// A wider address, which overlaps the one before, another listener, and an access log.
		`listeners: { web: { address: "WIDE", limits: { idle_timeout: NUMBERs } }, more: { address: "MORE" } }
pools: { fn: { nodes: [ "n1=N1", "n3=N3" ] } }
log: { access: DIR/access.log }`,
		// Other keys, routes of their own for each kind of traffic, and the listener under another name.
		`cluster: other
listeners: { front: { address: "WEB", debug_header: true, upgrades: [] } }
routes:
  - { match: { path: "/rooms/**" }, key: "{path[1]}", pool: rooms }
  - { key: "query:ms", on_missing_key: balance, pool: fn }
pools:
  fn: { nodes: [ "n1=N1", "n2=N2" ], homes: 1, limits: { idle_timeout: NUMBERs } }
  rooms: { nodes: [ "n3=N3" ] }`,
		// The pool of the WebSockets is gone, and only one node is left.
		`listeners: { web: { address: "WEB", http2: false } }
pools: { other: { nodes: [ "n1=N1" ], retry: { tries: 2 }, limits: { idle_timeout: NUMBERs } } }`,
	}
	write := func(i int) {
		text := strings.NewReplacer("WEB", web, "WIDE", web[strings.LastIndex(web, ":"):], "MORE", more, "N1", nodes[0], "N2", nodes[1], "N3", nodes[2], "DIR", dir,
			"NUMBER", fmt.Sprint(20+i)).Replace(versions[i%len(versions)] + "\nadmin: { listen: ADMIN }\n")
		replaceFile(t, file, strings.ReplaceAll(text, "ADMIN", admin))
	}
	write(0)
	b := launchIn(t, 1, shortDir(t), admin, "-c", file)
	c := gather(t, sockets, rate, b.url)
	c.load.begun(t, rate)
	digest := b.status(t).Config
	for i := 1; i <= reloads; i++ {
		write(i)
		switch i % 4 { // and the balancer follows the file by itself
		case 0:
			b.signal(t, syscall.SIGHUP)
		case 1, 2:
			b.must(t, "reload")
		}
		eventually(t, patience, func() string {
			if s := b.status(t); s.Config == digest || !s.Reload.OK {
				return fmt.Sprintf("reload %d has not come: %+v", i, s.Reload)
			}
			return ""
		})
		digest = b.status(t).Config
		if i%len(versions) == 1 { // what is in force is used
			if resp, _ := get(t, newClient(t, false), "http://"+more+"/more"); resp.Header.Get("Node") == "" {
				t.Error("the new listener leads nowhere")
			}
		} else if conn, err := net.Dial("tcp", more); err == nil {
			conn.Close()
			t.Error("a listener that is gone accepts connections")
		}
	}
	c.load.begun(t, rate)
	c.disperse(t)
	_, _, metrics := b.ask(t, "/metrics")
	for _, by := range []string{"api", "signal", "file"} {
		if !regexp.MustCompile(`(?m)^roost_config_reloads_total\{by="` + by + `",result="done"\} \d\d`).MatchString(metrics) {
			t.Errorf("less than ten reloads by %s: it proves nothing", by)
		}
	}
	eventually(t, patience, func() string {
		if s := b.status(t); len(s.Listeners) != 1 || len(s.Pools) != 1 || s.Listeners[0].Connections > 100 {
			return fmt.Sprintf("something of past configurations is left: %+v", s.Listeners)
		}
		return ""
	})
	if code := b.term(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// replaceFile puts text in the place of a configuration file, as editors and deployments do.
func replaceFile(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(withEngine(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func TestAReloadWithThreeMistakesChangesNothingAndNamesThemEverywhere(t *testing.T) {
	t.Parallel()
	nodes := echoes(t, 2)
	admin := freePort(t)
	file := filepath.Join(t.TempDir(), "roost.yaml")
	good := fmt.Sprintf("listeners: { web: { address: \"127.0.0.1:0\" } }\npools:\n  fn:\n    nodes: [ %s ]\nadmin: { listen: %s }\n", nodes[0], admin)
	bad := strings.Replace(good, "  fn:\n", "  fn:\n    hoems: 2\n    homes: three\n    queue: { timeout: 5 minutes }\n", 1)
	mistakes := []struct{ at, says string }{
		{":4:5", `unknown setting "hoems"; did you mean "homes"?`},
		{":5:12", `"three" is not a whole number`},
		{":6:23", `"5 minutes" is not a duration`},
	}
	replaceFile(t, file, good)
	b := launchIn(t, 1, shortDir(t), admin, "-c", file)
	before := b.status(t)
	replaceFile(t, file, bad)

	out, stderr, code := b.roost(t, "reload")
	if code != 1 || out != "" {
		t.Errorf("exit code %d, output %q", code, out)
	}
	for _, m := range mistakes {
		if !strings.Contains(stderr, file+m.at+": ") || !strings.Contains(stderr, m.says) {
			t.Errorf("the command line does not say %s: %s\n%s", m.at, m.says, stderr)
		}
	}
	judge := func(where string, got []roost.Mistake) {
		t.Helper()
		if len(got) != len(mistakes) {
			t.Errorf("%s: %d mistakes: %+v", where, len(got), got)
			return
		}
		for i, m := range mistakes {
			if at := fmt.Sprintf(":%d:%d", got[i].Line, got[i].Column); got[i].File != file || at != m.at || !strings.Contains(got[i].Message+"; "+got[i].Fix, m.says[:20]) {
				t.Errorf("%s: %+v, want %s: %s", where, got[i], m.at, m.says)
			}
		}
	}
	var answer api.Reload
	if code, body := b.post(t, "/api/v1/reload"); code != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil || answer.OK {
		t.Errorf("the API: %d %s", code, body)
	}
	judge("the API", answer.Errors)
	after := b.status(t)
	judge("the status", after.Reload.Errors)
	if after.Reload.OK || after.Config != before.Config || after.Snapshot != before.Snapshot || after.Pools[0].Digest != before.Pools[0].Digest {
		t.Errorf("something changed: %+v, before %+v", after, before)
	}
	for _, m := range mistakes {
		b.stderr.await(t, 1, "a log line for "+m.at, func(line string) bool {
			return strings.Contains(line, "level=ERROR") && strings.Contains(line, "at="+file+m.at+" ")
		})
	}
	_, _, metrics := b.ask(t, "/metrics")
	for _, want := range []string{`(?m)^roost_config_last_reload_success 0$`, `(?m)^roost_config_reloads_total\{by="api",result="refused"\} [1-9]`,
		`(?m)^roost_config_error_info\{code="[a-z_]+",column="5",file="` + regexp.QuoteMeta(file) + `",line="4"\} 1$`,
		`(?m)^roost_config_error_info\{code="[a-z_]+",column="12",file=".*",line="5"\} 1$`,
		`(?m)^roost_config_error_info\{code="[a-z_]+",column="23",file=".*",line="6"\} 1$`} {
		if !regexp.MustCompile(want).MatchString(metrics) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	get(t, newClient(t, false), b.url("/traffic/goes/on"))

	replaceFile(t, file, good)
	b.must(t, "reload")
	if s := b.status(t); !s.Reload.OK || len(s.Reload.Errors) > 0 || s.Config != before.Config {
		t.Errorf("mended: %+v", s.Reload)
	}
	if _, _, metrics := b.ask(t, "/metrics"); !strings.Contains(metrics, "\nroost_config_last_reload_success 1\n") || strings.Contains(metrics, "roost_config_error_info{") {
		t.Error("the metrics still speak of mistakes")
	}
}
