package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// newClient returns a client with connections of its own. h2c: it speaks HTTP/2 with prior knowledge.
func newClient(t testing.TB, h2c bool) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 4096, DisableCompression: true, Protocols: new(http.Protocols),
		WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10}
	tr.Protocols.SetUnencryptedHTTP2(h2c)
	tr.Protocols.SetHTTP1(!h2c)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// do returns a whole answer.
func do(c *http.Client, method, url string, body []byte) (*http.Response, string, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", fmt.Errorf("read the answer: %w", err)
	}
	return resp, string(text), nil
}

// get returns the whole answer to a GET, which must be a 200.
func get(t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, text, err := do(c, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s\n%s", url, resp.Status, text)
	}
	return resp, text
}
