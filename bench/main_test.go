package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestMain lets the test binary be its own upstream and load generator, as the bench is.
func TestMain(m *testing.M) {
	if isChild(os.Args[1:]) {
		os.Exit(command(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestFlagsThatMakeNoSenseAreRefusedByName(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-cases nosuch", `no case "nosuch"`},
		{"-only apache", `no contestant "apache"`},
		{"-rounds 0", "-rounds 0"},
		{"-seconds 0.01", "-seconds 0.01"},
		{"-seconds NaN", "-seconds NaN"},
		{"-seconds 1e9", "-seconds 1e+09"},
		{"fast", `"fast"`},
	} {
		if _, err := parse(strings.Fields(c.args), io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.args, err, c.want)
		}
	}
	o, err := parse([]string{"-cases", "open-2k,64k", "-only", "nginx,roost"}, io.Discard)
	if err != nil || len(o.cases) != 2 || o.cases[0].Name != "open-2k" || o.cases[1].Name != "64k" || len(o.only) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestContestantsListenWhereTheyAreToldAndKnowAllNodes(t *testing.T) {
	keys := map[Front][]string{HTTP: {"x-key"}, TLS: {"x-key"}, Relay: {"balance source", "remote-addr", "client-ip"}}
	for _, c := range contestants {
		for front, key := range keys {
			args, files, _ := c.start(setup{name: c.name, dir: "/d", port: 4000, nodes: []int{5001, 5002, 5003, 5004}, c: Case{Front: front, Threads: 2},
				tuned: c.tuned, root: true, files: 20000, tls: certificate{cert: "/crt", key: "/key", both: "/both"}})
			all := strings.Join(args, " ")
			for path, text := range files {
				if !slices.Contains(args, path) {
					t.Errorf("%s does not read %s", c.name, path)
				}
				all += text
			}
			for _, addr := range []string{":4000", ":5001", ":5002", ":5003", ":5004"} {
				if n := strings.Count(all, "127.0.0.1"+addr); n != 1 {
					t.Errorf("%s: 127.0.0.1%s is there %d times", c.name, addr, n)
				}
			}
			all = strings.ToLower(strings.ReplaceAll(all, "_", "-"))
			if !slices.ContainsFunc(key, func(k string) bool { return strings.Contains(all, k) }) {
				t.Errorf("%s behind %q knows no key", c.name, front)
			}
			if shown := strings.Contains(all, "/crt") || strings.Contains(all, "/both"); shown != (front == TLS) {
				t.Errorf("%s behind %q: a certificate is there: %t", c.name, front, shown)
			}
		}
	}
}

func TestRoostRunsWithTheEngineThatItsNameSays(t *testing.T) {
	for _, c := range []struct{ name, want, not, env string }{
		{"roost", "loops: 2\n", "engine:", ""},
		{"roost-reactor", "engine: reactor\nloops: 2\n", "std", ""},
		{"roost-std", "engine: std\n", "loops:", "GOMAXPROCS=2"},
	} {
		_, files, env := roost(setup{name: c.name, dir: "/d", c: Case{Threads: 2}})
		text := files["/d/roost.yaml"]
		if !strings.Contains(text, c.want) || strings.Contains(text, c.not) || strings.Join(env, " ") != c.env {
			t.Errorf("%s: %v\n%s", c.name, env, text)
		}
	}
}

func TestTheStreamModuleIsFoundWhereNginxSaysItIs(t *testing.T) {
	for _, c := range []struct {
		said, path string
		dynamic    bool
	}{
		{"configure arguments: --prefix=/usr/share/nginx --modules-path=/usr/lib/nginx/modules --with-stream=dynamic --with-stream_ssl_module",
			"/usr/lib/nginx/modules/ngx_stream_module.so", true},
		{"configure arguments: --prefix=/opt/nginx --with-stream=dynamic", "/opt/nginx/modules/ngx_stream_module.so", true},
		{"configure arguments: --with-stream", "/usr/local/nginx/modules/ngx_stream_module.so", false},
	} {
		if path, dynamic := streamModule(c.said); path != c.path || dynamic != c.dynamic {
			t.Errorf("%q: %s, %t", c.said, path, dynamic)
		}
	}
	for said, want := range map[string]string{"--with-stream": "", "--with-stream_ssl_module": "without", "--with-stream=dynamic --prefix=/nowhere": "not installed"} {
		if why := nginxLacks(said, Case{Front: Relay}); (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%q: %q, want %q", said, why, want)
		}
		if why := nginxLacks(said, Case{}); why != "" {
			t.Errorf("%q lacks something for HTTP: %s", said, why)
		}
	}
}

func TestHeadsAreReadWhateverTheCase(t *testing.T) {
	h, err := parseHead([]byte("HTTP/1.1 200 OK\r\ncontent-LENGTH:  17 \r\nX-Content-Length: 3\r\nConnection: Close\r\n\r\n"))
	if err != nil || h.length != 17 || !h.close || h.chunked {
		t.Errorf("%+v, %v", h, err)
	}
	if h, err := parseHead([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")); err != nil || !h.chunked {
		t.Errorf("%+v, %v", h, err)
	}
	for _, bad := range []string{"-1", "1x", ""} {
		if h, err := parseHead([]byte("HTTP/1.1 200 OK\r\nContent-Length: " + bad + "\r\n\r\n")); err == nil {
			t.Errorf("length %q: %+v", bad, h)
		}
	}
}
