package fnlb

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// fn's servers say in annotations under which URL a function or trigger is called. Without help from their own
// configuration (FN_PUBLIC_LB_URL) they name themselves, and fn's clients go past the balancer. The rewriter lets answers
// name the host that the client has asked.

// endpoint finds scheme and authority of such a URL. Quotes within JSON strings are escaped, so that nothing a user wrote
// into a description can match.
var endpoint = regexp.MustCompile(`("fnproject\.io/(?:fn/invokeEndpoint|trigger/httpEndpoint)"\s*:\s*")https?:(?:\\?/){2}[^/"\\]+`)

// maxAnswer bounds an answer that is held to be rewritten; a page of fn's lists has 100 entries of a few KiB. A longer one
// passes as it is.
const maxAnswer = 8 << 20

// rewrite replaces scheme and host of all endpoints in a JSON text.
func rewrite(body []byte, scheme, host string) []byte {
	return endpoint.ReplaceAll(body, []byte("${1}"+scheme+"://"+strings.ReplaceAll(host, "$", "$$")))
}

// hostname is what a Host may consist of to be written into somebody's JSON.
var hostname = regexp.MustCompile(`^[A-Za-z0-9._:\[\]-]+$`)

// Rewriter passes requests on to the balancer's inner listener, and rewrites the endpoints in what comes back.
func Rewriter(inner string, log *slog.Logger) http.Handler {
	var d net.Dialer
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", inner) },
			DisableCompression:    true,
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       30 * time.Second,
			ResponseHeaderTimeout: time.Minute,
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "roost"
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Accept-Encoding") // what is compressed cannot be rewritten
			for _, h := range []string{"If-None-Match", "If-Modified-Since", "Range"} {
				r.Out.Header.Del(h) // they speak of the answer before it is rewritten
			}
			const proto = "X-Forwarded-Proto" // written by our own traffic listener
			r.Out.Header[proto] = r.In.Header[proto]
		},
		ModifyResponse: func(resp *http.Response) error { return rewriteAnswer(resp) },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprintf(w, "{\"message\":%q}\n", "no fn server answered")
		},
	}
}

func rewriteAnswer(resp *http.Response) error {
	in := resp.Request
	host := in.Host
	if in.Method == http.MethodHead || resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Content-Type"), "json") || !hostname.MatchString(host) {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read an answer that names endpoints: %w", err)
	}
	if len(body) > maxAnswer {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
		return nil
	}
	resp.Body.Close()
	scheme := "http"
	if in.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	body = rewrite(body, scheme, host)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	resp.Header.Del("Etag")
	return nil
}
