package admin

import (
	"fmt"
	"io"
	"net/http"
)

// pages adds what is not of the API: it is for people, probes and scrapers.
func (r *router) pages() {
	r.get("index", "/", "What there is", page{kind: textPlain, operation: operation{page: true}}, r.index)
	r.get("healthz", "/healthz", "200 while the process lives", page{kind: textPlain, operation: operation{page: true, free: always}}, r.healthz)
	r.get("readyz", "/readyz", "200 when it takes traffic, else 503 and why; ?verbose says more, and needs the token",
		page{kind: textPlain, others: []int{http.StatusServiceUnavailable}, operation: operation{page: true, free: unasked}}, r.readyz)
	metrics := func(w http.ResponseWriter, _ *http.Request) { notOffered().write(w) }
	if r.options.Metrics != nil {
		metrics = r.options.Metrics.handler(r.log).ServeHTTP
	}
	r.get("metrics", "/metrics", "For Prometheus; admin.open_metrics lifts the token", page{kind: textPlain,
		others: []int{http.StatusServiceUnavailable}, problems: []int{http.StatusNotImplemented},
		operation: operation{page: true, free: configured}}, metrics)
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	text(w, http.StatusOK)
	io.WriteString(w, `roost
/healthz              200 while the process lives
/readyz               200 when it takes traffic, else 503 and why; ?verbose says more
/metrics              for Prometheus
/api/v1/status        listeners, pools and nodes as JSON
/api/v1/openapi.json  the whole API
`)
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	text(w, http.StatusOK)
	io.WriteString(w, "ok\n")
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	var err error
	if s.options.Ready != nil {
		err = s.options.Ready()
	}
	if err != nil {
		text(w, http.StatusServiceUnavailable)
		fmt.Fprintf(w, "not ready: %v\n", err)
	} else {
		text(w, http.StatusOK)
		io.WriteString(w, "ready\n")
	}
	if !r.URL.Query().Has("verbose") || s.options.Status == nil {
		return
	}
	st := s.options.Status()
	fmt.Fprintf(w, "version %s, config %s, snapshot %d\n", st.Version, st.Config, st.Snapshot)
	for _, p := range st.Pools {
		takers := 0
		for _, n := range p.Nodes {
			if n.Effective > 0 {
				takers++
			}
		}
		fmt.Fprintf(w, "pool %s: %d of %d nodes take new requests\n", p.ID, takers, len(p.Nodes))
	}
}

const textPlain = "text/plain; charset=utf-8"

func text(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", textPlain)
	w.WriteHeader(status)
}
