package enginetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Get asks and takes the whole answer.
func Get(t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

// Client keeps connections until the test ends.
func Client(t testing.TB) *http.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (engine subject) TestARequestReachesItsNodeAndTheAnswerComesBack(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s host=%s xff=%s via=%s", r.Method, r.URL, r.Host, r.Header.Get("X-Forwarded-For"), r.Header.Get("Via"))
	})
	p := engine.start(t, nil, n)
	c := Client(t)
	for i := 1; i <= 3; i++ {
		res, body := Get(t, c, "http://"+p.Addr+"/a/b?c=d")
		want := "GET /a/b?c=d host=" + p.Addr + " xff=127.0.0.1 via=1.1 roost"
		if res.StatusCode != 200 || body != want {
			t.Fatalf("got %d %q, want %q", res.StatusCode, body, want)
		}
		if r := p.Wait(i); r.Status != 200 || r.Node != "n1" || r.BytesOut != int64(len(want)) || string(r.Key) != "/a/b" || r.Client != loopback {
			t.Errorf("record %+v", r)
		}
	}
}

func (engine subject) TestBodiesGoBothWays(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() // else net/http throws away what it has not read
		w.Header().Set("Got-Length", fmt.Sprint(r.ContentLength))
		io.Copy(w, r.Body)
	})
	p := engine.start(t, nil, n)
	c := Client(t)
	for _, size := range []int{0, 1, 100, 4<<10 - 1, 4 << 10, 100 << 10, 3 << 20} {
		for _, chunked := range []bool{false, true} {
			want := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
			var body io.Reader = bytes.NewReader(want)
			if chunked {
				body = io.MultiReader(body)
			}
			res, err := c.Post("http://"+p.Addr+"/echo", "text/plain", body)
			if err != nil {
				t.Fatalf("%d bytes, chunked %v: %v", size, chunked, err)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, chunked %v: got %d bytes, %v", size, chunked, len(got), err)
			}
			if l := res.Header.Get("Got-Length"); !chunked && l != fmt.Sprint(size) {
				t.Errorf("%d bytes: the node saw a length of %s", size, l)
			}
		}
	}
}

func (engine subject) TestAnEmptyPoolAnswers503(t *testing.T) {
	p := engine.start(t, nil)
	res, body := Get(t, Client(t), "http://"+p.Addr+"/")
	if res.StatusCode != 503 || !strings.Contains(body, `"pool_empty"`) {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

func (engine subject) TestARefusedConnectionGoesToTheNextNode(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	p := engine.start(t, nil, "127.0.0.1:1", n)
	res, err := Client(t).Post("http://"+p.Addr+"/", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 || string(b) != "hello" {
		t.Errorf("got %d %q", res.StatusCode, b)
	}
	if r := p.Wait(1); r.Tries != 2 || r.Node != "n2" {
		t.Errorf("record %+v", r)
	}
}
