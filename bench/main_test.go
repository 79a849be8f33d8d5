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
	if len(os.Args) == 3 && (os.Args[1] == "upstream" || os.Args[1] == "load") {
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
	for _, c := range contestants {
		args, files, _ := c.start(setup{dir: "/d", port: 4000, nodes: []int{5001, 5002, 5003, 5004}, threads: 2, tuned: c.tuned, root: true})
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
		if !strings.Contains(strings.ToLower(strings.ReplaceAll(all, "_", "-")), "x-key") {
			t.Errorf("%s knows no key", c.name)
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
