package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// fnNode is as much of an fn server as its clients need: an API with one application and one function, invocation, and
// the version that fnlb's health check asks for.
type fnNode struct {
	addr    string
	invoked atomic.Int64
}

func newFnNode(t testing.TB, name string) *fnNode {
	t.Helper()
	ln := listenOn(t, "127.0.0.1:0")
	n := &fnNode{addr: ln.Addr().String()}
	mux := http.NewServeMux()
	say := func(pattern string, body func(r *http.Request) string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			io.WriteString(w, body(r))
		})
	}
	say("GET /version", func(*http.Request) string { return `{"version":"0.3.750"}` })
	say("GET /v2/apps", func(*http.Request) string {
		return `{"items":[{"id":"01APP","name":"myapp","created_at":"2026-11-20T00:00:00.000Z","updated_at":"2026-11-20T00:00:00.000Z"}]}`
	})
	say("GET /v2/fns", func(r *http.Request) string {
		if r.URL.Query().Get("app_id") != "01APP" {
			return `{"items":[]}`
		}
		return `{"items":[{"id":"01FN","name":"hello","app_id":"01APP","image":"x/hello:1","created_at":"2026-11-20T00:00:00.000Z",` +
			`"updated_at":"2026-11-20T00:00:00.000Z","annotations":{"fnproject.io/fn/invokeEndpoint":"http://` + n.addr + `/invoke/01FN"}}]}`
	})
	call := func(w http.ResponseWriter, r *http.Request) {
		n.invoked.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header()["Fn_call_id"] = []string{"01CALL"} // with its underscore, as fn sent it in 2017
		w.Header().Set("Fn-Call-Id", "01CALL")
		w.Header().Set("XXX-FXLB-WAIT", "250ms")
		fmt.Fprintf(w, "%s got %s", name, body)
	}
	mux.HandleFunc("POST /invoke/01FN", call)
	mux.HandleFunc("/r/{app}/{fn...}", call)
	serveNode(t, ln, mux)
	return n
}

// fnlb starts the program under the name fnlb, as those do who replace the binary.
func fnlb(t testing.TB, args ...string) *child {
	t.Helper()
	link := filepath.Join(t.TempDir(), "fnlb")
	if err := os.Symlink(roostBinary(t), link); err != nil {
		t.Fatal(err)
	}
	return start(t, exec.Command(link, args...))
}

func awaitLine(t testing.TB, c *child, text string) {
	t.Helper()
	c.stderr.await(t, 1, text, func(line string) bool { return strings.Contains(line, text) })
}

// nodesAre waits until /1/lb/nodes says exactly this.
func nodesAre(t testing.TB, mgmt, want string) {
	t.Helper()
	eventually(t, patience, func() string {
		if got, _, _ := command(t, patience, "", program(t, "curl"), "-sS", mgmt+"/1/lb/nodes"); got != want+"\n" {
			return "/1/lb/nodes is " + got
		}
		return ""
	})
}

// The recipes are those of fnlb's README and of fn's documentation, with other ports.
func TestFnlbsRecipesWorkUnchanged(t *testing.T) {
	curl := program(t, "curl")
	a, b := newFnNode(t, "a"), newFnNode(t, "b")
	run := func(want string, args ...string) {
		t.Helper()
		out, stderr, code := command(t, patience, "", curl, append([]string{"-sS"}, args...)...)
		if out != want || code != 0 {
			t.Errorf("curl %s: exit %d, %q, want %q %s", strings.Join(args, " "), code, out, want, stderr)
		}
	}
	both, gone := fmt.Sprintf(`{"nodes":{%q:"online",%q:"online"}}`, first(a.addr, b.addr), second(a.addr, b.addr)), "127.0.0.1:9"
	for _, shared := range []bool{true, false} {
		t.Run(map[bool]string{true: "one port", false: "a port of its own for management"}[shared], func(t *testing.T) {
			addr, mgmt := freePort(t), freePort(t)
			args := []string{"--nodes", a.addr, "-listen", addr, "-hc-interval", "1"}
			if shared {
				mgmt = addr
			}
			lb := fnlb(t, append(args, "-mgmt-listen", mgmt)...)
			awaitLine(t, lb, "msg=listening")
			run(`{"msg":"node added"}`+"\n", "-X", "PUT", "-d", `{"node":"`+b.addr+`"}`, mgmt+"/1/lb/nodes")
			nodesAre(t, mgmt, both)
			run(`{"msg":"node added"}`+"\n", "-X", "PUT", "-d", `{"node":"`+gone+`"}`, mgmt+"/1/lb/nodes")
			run(`{"msg":"node deleted"}`+"\n", "-X", "DELETE", "-d", `{"node":"`+gone+`"}`, mgmt+"/1/lb/nodes")
			run(`{"msg":"invalid character 'o' in literal null (expecting 'u')"}`+"\n", "-X", "PUT", "-d", "nope", mgmt+"/1/lb/nodes")
			run("", "-X", "POST", mgmt+"/1/lb/nodes")
			if out, _, _ := command(t, patience, "", curl, "-sS", mgmt+"/1/lb/dash"); !strings.Contains(out, "</html>") {
				t.Errorf("the dashboard is %q", out)
			}
			out, _, _ := command(t, patience, "", curl, "-sSi", "-d", "hi", addr+"/r/myapp/hello")
			if !strings.HasPrefix(out, "HTTP/1.1 200") || !strings.Contains(out, "\r\nFn_call_id: 01CALL\r\n") || !strings.HasSuffix(out, " got hi") || strings.Contains(strings.ToLower(out), "xxx-fxlb") {
				t.Errorf("the call's answer is %q", out)
			}
			stat := regexp.MustCompile(`^\{"stats":\[\{"timestamp":"[^"]+","tp":1,"node":"127\.0\.0\.1:\d+","func":"/r/myapp/hello","wait":0\.25\}\]\}\n$`)
			if out, _, _ := command(t, patience, "", curl, "-sS", mgmt+"/1/lb/stats"); !stat.MatchString(out) {
				t.Errorf("the statistics are %q", out)
			}
			run(`{"stats":null}`+"\n", mgmt+"/1/lb/stats")
			if shared {
				return
			}
			run(`{"msg":"unknown command"}`+"\n", mgmt+"/r/myapp/hello")
			if out, _, _ := command(t, patience, "", curl, "-sS", "-o", os.DevNull, "-w", "%{http_code}", addr+"/1/lb/nodes"); out != "404" {
				t.Errorf("the traffic port answers /1/lb/nodes by %s, which is the nodes' own business", out)
			}
		})
	}
}

func first(a, b string) string  { return min(a, b) }
func second(a, b string) string { return max(a, b) }

// TestFunctionsStayTogetherBehindFnlb is what fnlb's own users asked for in issue 570 of its ancestor, and never got.
func TestFunctionsStayTogetherBehindFnlb(t *testing.T) {
	nodes := []*fnNode{newFnNode(t, "a"), newFnNode(t, "b"), newFnNode(t, "c")}
	addr := freePort(t)
	lb := fnlb(t, "-nodes", nodes[0].addr+","+nodes[1].addr+","+nodes[2].addr, "-listen", addr, "-mgmt-listen", addr)
	awaitLine(t, lb, "msg=listening")
	for fn := range 30 {
		before := []int64{nodes[0].invoked.Load(), nodes[1].invoked.Load(), nodes[2].invoked.Load()}
		for range 10 {
			resp, err := http.Post(fmt.Sprintf("http://%s/r/app/f%d", addr, fn), "text/plain", strings.NewReader("x"))
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v %v", resp, err)
			}
			resp.Body.Close()
		}
		used := 0
		for i, n := range nodes {
			if n.invoked.Load() != before[i] {
				used++
			}
		}
		if used != 1 {
			t.Errorf("10 calls of function %d went to %d nodes", fn, used)
		}
	}
	for i, n := range nodes {
		if n.invoked.Load() == 0 {
			t.Errorf("node %d has no function", i)
		}
	}
}

// TestTheTableOfNodesIsSharedAndSurvives: two balancers and a database that others write to.
func TestTheTableOfNodesIsSharedAndSurvives(t *testing.T) {
	a, b := newFnNode(t, "a"), newFnNode(t, "b")
	db := "sqlite3://" + filepath.Join(shortDir(t), "fn", "fn.db")
	flags := func(addr string, more ...string) []string {
		return append([]string{"-listen", addr, "-mgmt-listen", addr, "-db", db, "-hc-interval", "1"}, more...)
	}
	one, two := freePort(t), freePort(t)
	lb1 := fnlb(t, flags(one, "-nodes", a.addr)...)
	awaitLine(t, lb1, "msg=listening")
	lb2 := fnlb(t, flags(two)...)
	awaitLine(t, lb2, "msg=listening")
	nodesAre(t, two, fmt.Sprintf(`{"nodes":{%q:"online"}}`, a.addr))
	command(t, patience, "", program(t, "curl"), "-sS", "-X", "PUT", "-d", `{"node":"`+b.addr+`"}`, two+"/1/lb/nodes")
	nodesAre(t, one, fmt.Sprintf(`{"nodes":{%q:"online",%q:"online"}}`, first(a.addr, b.addr), second(a.addr, b.addr)))
	lb1.kill()
	lb1 = fnlb(t, flags(one)...)
	awaitLine(t, lb1, "msg=listening")
	nodesAre(t, one, fmt.Sprintf(`{"nodes":{%q:"online",%q:"online"}}`, first(a.addr, b.addr), second(a.addr, b.addr)))
	for _, lb := range []*child{lb1, lb2} {
		lb.signal(t, syscall.SIGHUP) // ends nothing
		awaitLine(t, lb, "reload failed")
		lb.signal(t, syscall.SIGTERM)
		if code := lb.wait(t, patience); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

// TestFnlbIsUpgradedInPlace: the table is a file, and -state gives the command line its socket.
func TestFnlbIsUpgradedInPlace(t *testing.T) {
	a, b := newFnNode(t, "a"), newFnNode(t, "b")
	addr, mgmt, state := freePort(t), freePort(t), shortDir(t)
	lb := fnlb(t, "-listen", addr, "-mgmt-listen", mgmt, "-state", state, "-db", "sqlite3://"+filepath.Join(state, "fn.db"), "-nodes", a.addr+","+b.addr)
	awaitLine(t, lb, "msg=listening")
	curl := program(t, "curl")
	command(t, patience, "", curl, "-sS", "-X", "DELETE", "-d", `{"node":"`+b.addr+`"}`, mgmt+"/1/lb/nodes")
	l := startLoad(t, 200, func(ctx context.Context, c *call) {
		req, err := http.NewRequestWithContext(ctx, "POST", fmt.Sprintf("http://%s/r/app/f%d", addr, c.n%10), strings.NewReader("x"))
		if err != nil {
			c.err = err
			return
		}
		req.Close = c.n%2 == 0 // on a connection of its own, or on one that the upgrade ends
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			c.err = err
			return
		}
		c.status = resp.StatusCode
		resp.Body.Close()
	})
	l.begun(t, 50)
	out, stderr, code := command(t, patience, "", roostBinary(t), "upgrade", "--socket", filepath.Join(state, "roost.sock"), "-o", "json")
	var up struct{ PID int }
	if err := json.Unmarshal([]byte(out), &up); code != 0 || err != nil || up.PID == 0 {
		t.Fatalf("exit code %d %v\n%s%s", code, err, out, stderr)
	}
	exe := func() string { // of the new process; "" when it is gone, or only its parent does not ask for its end
		name, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", up.PID))
		return filepath.Base(name)
	}
	t.Cleanup(func() {
		if strings.Contains(exe(), "roost") { // it did not end below
			syscall.Kill(up.PID, syscall.SIGKILL)
		}
	})
	l.begun(t, 200)
	few := &few{t: t}
	defer few.close()
	for _, c := range l.finish(t) {
		if c.err != nil || c.status != 200 {
			few.Errorf("%v", c)
		}
	}
	if code := lb.wait(t, patience); code != 0 {
		t.Errorf("the old process ended with %d", code)
	}
	nodesAre(t, mgmt, fmt.Sprintf(`{"nodes":{%q:"online"}}`, a.addr)) // what was deleted stays deleted
	if b.invoked.Load() == 0 && a.invoked.Load() == 0 {
		t.Error("nothing was invoked")
	}
	if err := syscall.Kill(up.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() string {
		if strings.Contains(exe(), "roost") {
			return "the new process lives"
		}
		return ""
	})
}

// The three requests of today's fn client (0.6.63): it learns where to invoke from an annotation.
func TestFnsClientInvokesThroughTheBalancer(t *testing.T) {
	a, b := newFnNode(t, "a"), newFnNode(t, "b")
	addr := freePort(t)
	lb := fnlb(t, "-nodes", a.addr+","+b.addr, "-listen", addr, "-mgmt-listen", addr)
	awaitLine(t, lb, "msg=listening")
	get := func(path string, into any) {
		t.Helper()
		req, err := http.NewRequest("GET", "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %d %v", path, resp.StatusCode, err)
		}
	}
	type list struct {
		Items []struct {
			ID          string
			Annotations map[string]string
		}
	}
	var apps, fns list
	get("/v2/apps?name=myapp", &apps)
	get("/v2/fns?app_id="+apps.Items[0].ID+"&name=hello", &fns)
	endpoint := fns.Items[0].Annotations["fnproject.io/fn/invokeEndpoint"]
	if endpoint != "http://"+addr+"/invoke/01FN" {
		t.Fatalf("the client would invoke %s, past the balancer", endpoint)
	}
	for range 10 {
		resp, err := http.Post(endpoint, "text/plain", strings.NewReader(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.HasSuffix(string(body), `got {"a":1}`) || resp.Header.Get("Fn-Call-Id") != "01CALL" {
			t.Fatalf("%d %s %v", resp.StatusCode, body, resp.Header)
		}
	}
	if x, y := a.invoked.Load(), b.invoked.Load(); x+y != 10 || x != 0 && y != 0 {
		t.Errorf("10 invocations went %d and %d", x, y)
	}

	t.Run("the client itself", func(t *testing.T) {
		fn, err := exec.LookPath("fn")
		if err != nil {
			t.Skip("SKIP: fn is not installed; its three requests are sent above")
		}
		cmd := exec.Command(fn, "invoke", "myapp", "hello")
		cmd.Env = append(os.Environ(), "FN_API_URL=http://"+addr, "HOME="+t.TempDir())
		cmd.Stdin = strings.NewReader(`{"a":1}`)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), `got {"a":1}`) {
			t.Errorf("fn invoke: %v\n%s", err, out)
		}
	})
}
