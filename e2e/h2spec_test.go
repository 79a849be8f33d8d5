package e2e

import (
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestH2spec runs the public conformance suite of HTTP/2 and HPACK.
func TestH2spec(t *testing.T) {
	t.Parallel()
	bin := tool(t, "h2spec")
	text := strings.Repeat("some of the cases need more than a few bytes to make DATA frames of\n", 10)
	nodes := newNode(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, text)
	}))
	t.Run("clear", func(t *testing.T) {
		h2spec(t, bin, serve(t, "--nodes", nodes).addr)
	})
	t.Run("TLS", func(t *testing.T) {
		c := newCA(t).issue(t, 1, "127.0.0.1")
		h2spec(t, bin, serve(t, "--nodes", nodes, "--tls-cert", c.cert, "--tls-key", c.key).addr, "-t", "-k")
	})
}

func h2spec(t *testing.T, bin, addr string, args ...string) {
	const cases, enough = 145, 141 // of which Go's own server passes 141
	host, port, _ := net.SplitHostPort(addr)
	file := filepath.Join(t.TempDir(), "report.xml")
	out, errs, _ := command(t, 4*time.Minute, "", bin, append([]string{"-h", host, "-p", port, "-j", file, "generic", "hpack", "http2"}, args...)...)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	var report struct {
		Suites []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Package   string    `xml:"package,attr"`
				ClassName string    `xml:"classname,attr"`
				Failure   *struct{} `xml:"failure"`
				Error     *struct{} `xml:"error"`
				Skipped   *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	var total, passed int
	for _, s := range report.Suites {
		for _, c := range s.Cases {
			switch total++; {
			case c.Skipped != nil:
				t.Logf("skipped: %s: %s", c.Package, c.ClassName)
			case c.Failure != nil || c.Error != nil:
				t.Logf("failed: %s: %s", c.Package, c.ClassName)
			default:
				passed++
			}
		}
	}
	t.Logf("%d of %d passed", passed, total)
	if total < cases || passed < enough {
		t.Errorf("%d of %d passed, want %d of %d at least", passed, total, enough, cases)
	}
}
