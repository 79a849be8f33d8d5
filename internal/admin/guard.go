package admin

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"roost"
	"roost/internal/api"
)

// answer answers one request.
func (s *Server) answer(out http.ResponseWriter, r *http.Request, in entrance) {
	w := &response{ResponseWriter: out}
	w.limit()
	defer s.finish(w, r)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	if in.token && !s.shown(r) {
		h.Set("Connection", "close") // who cannot show the token keeps no place: all would be taken soon
	}
	if f := s.admit(w, r, in); f != nil {
		f.write(w)
		return
	}
	http.NewResponseController(out).SetReadDeadline(time.Time{}) // all is read; from here a read only sees the client go
	r.Header.Del("Accept")                                       // there is one kind of answer to everything
	s.mux.ServeHTTP(w, r)
}

// admit says why a request is not to be answered, or nil.
func (s *Server) admit(w *response, r *http.Request, in entrance) *failure {
	settings := s.settings()
	pattern := s.pattern(r)
	op, found := s.operations[pattern]
	switch {
	case !known(r.Host, settings):
		return refuse(http.StatusForbidden, api.CodeHostUnknown,
			"the admin API does not answer to the name %q; use an address, localhost, or list the name in admin.names", r.Host)
	case !sameOrigin(r, in):
		return refuse(http.StatusForbidden, api.CodeOriginForeign, "the admin API answers no pages of other origins")
	case in.token && !op.open(r, settings) && !s.authorized(r):
		w.Header().Set("WWW-Authenticate", `Bearer realm="roost"`)
		return refuse(http.StatusUnauthorized, api.CodeUnauthorized,
			"send Authorization: Bearer and the token, which stands in admin.token in the state directory; the unix socket asks for none")
	case !found:
		return s.nowhere(w, r)
	case op.socketOnly && !in.socket:
		return refuse(http.StatusForbidden, api.CodeSocketOnly, "%s %s is answered over the unix socket only", r.Method, r.URL.Path)
	}
	if f := checkQuery(r.URL.RawQuery, op); f != nil {
		return f
	}
	return readBody(w.ResponseWriter, r, op.body)
}

// pattern is the mux's for a request, "" when there is none. A path that is not clean is no route's, rather than redirected.
func (s *Server) pattern(r *http.Request) string {
	if p := r.URL.EscapedPath(); !strings.HasPrefix(p, "/") || p != path.Clean(p) {
		return ""
	}
	_, pattern := s.mux.Handler(r)
	return pattern
}

// nowhere refuses what no route takes: 405 when another method would find one, else 404.
func (s *Server) nowhere(w *response, r *http.Request) *failure {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := *r
		other.Method = method
		if s.pattern(&other) != "" {
			allowed = append(allowed, method)
		}
	}
	if allowed == nil {
		return refuse(http.StatusNotFound, api.CodeNoRoute, "nothing is here; / lists the pages, and /api/v1/openapi.json the API")
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return refuse(http.StatusMethodNotAllowed, api.CodeMethod, "%s takes %s, not %s", r.URL.Path, strings.Join(allowed, ", "), r.Method)
}

// checkQuery refuses what could be read in two ways. Which names there are, huma checks.
func checkQuery(query string, op operation) *failure {
	values, err := url.ParseQuery(query)
	if err != nil {
		return refuse(http.StatusBadRequest, api.CodeBadRequest, "the query cannot be read: %v", err)
	}
	for name, v := range values {
		switch {
		case len(v) > 1:
			return refuse(http.StatusBadRequest, api.CodeBadRequest, "%q stands in the query %d times", name, len(v))
		case v[0] == "" && !op.page:
			return refuse(http.StatusBadRequest, api.CodeBadRequest, "%q in the query has no value", name)
		}
	}
	return nil
}

// known tells whether a Host field can be meant for us. A web page whose own name was made to resolve to this machine
// (DNS rebinding) sends that name; it cannot make its browser send an address, localhost or a name we were given.
// Clients without Host are no browsers.
func known(host string, settings roost.Admin) bool {
	name := hostname(host)
	if _, err := netip.ParseAddr(name); err == nil || host == "" {
		return true
	}
	for _, ours := range append([]string{"localhost", hostname(settings.Address)}, settings.Names...) {
		if ours != "" && strings.EqualFold(name, ours) {
			return true
		}
	}
	return false
}

// hostname is host:port without port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// sameOrigin tells that no page of another origin asks. Clients that are no browsers send no Origin.
func sameOrigin(r *http.Request, in entrance) bool {
	for _, origin := range r.Header.Values("Origin") {
		scheme, host, _ := strings.Cut(origin, "://")
		fits := scheme == "http" && !in.secure || scheme == "https" && (in.secure || in.socket) // a socket may have TLS before it
		if !fits || !strings.EqualFold(host, r.Host) {
			return false
		}
	}
	return true
}

// shown tells whether a request carries the token.
func (s *Server) shown(r *http.Request) bool {
	text := bearer(r)
	return text != "" && s.options.Token != nil && s.options.Token().fits(text)
}

func (s *Server) authorized(r *http.Request) bool {
	if s.shown(r) {
		return true
	}
	s.refusals.tell(s.log, time.Now(), r.RemoteAddr, bearer(r) != "")
	return false
}

// refusals logs requests without the token, one line in a while: whoever guesses must not fill the log.
type refusals struct {
	mu    sync.Mutex // guards both
	next  time.Time
	since int // requests refused since the last line
}

// refusalsEvery is how long one line stands for all.
const refusalsEvery = 10 * time.Second

func (f *refusals) tell(log *slog.Logger, now time.Time, client string, shown bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.since++
	if now.Before(f.next) {
		return
	}
	reason := "no token"
	if shown {
		reason = "wrong token"
	}
	log.Warn("admin request refused", "client", client, "reason", reason, "requests", f.since)
	f.next, f.since = now.Add(refusalsEvery), 0
}

// response is a ResponseWriter that knows its status, and gives each answer its time.
type response struct {
	http.ResponseWriter
	status int // 0: not yet answered
}

func (w *response) WriteHeader(status int) {
	w.status = status
	w.limit()
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// limit gives the client time to take what is written from now on.
func (w *response) limit() {
	http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(writeTimeout))
}

// finish counts an answer. A panic, which is a bug of ours, costs no more than this one request.
func (s *Server) finish(w *response, r *http.Request) {
	if bug := recover(); bug != nil {
		if err, ok := bug.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(bug)
		}
		s.log.Error("admin request panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(bug), "stack", string(debug.Stack()))
		if w.status != 0 {
			panic(http.ErrAbortHandler) // too late to say so: the answer is broken off
		}
		refuse(http.StatusInternalServerError, api.CodeInternal, "a bug of this balancer; its log says more").write(w)
	}
	if s.options.Metrics != nil {
		s.options.Metrics.admin[min(w.status/100, classes-1)].Add(1)
	}
}
