package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"roost"
)

func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	text(w, http.StatusOK)
	io.WriteString(w, `roost
/healthz         200 while the process lives
/readyz          200 when it takes traffic, else 503 and why; ?verbose says more
/metrics         for Prometheus
/status          listeners, pools and nodes as JSON
`)
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
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
	if !r.URL.Query().Has("verbose") {
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

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st := s.options.Status()
	if st.Listeners == nil { // scripts iterate over these: an empty list, never null
		st.Listeners = []roost.ListenerStatus{}
	}
	if st.Pools == nil {
		st.Pools = []roost.PoolStatus{}
	}
	for i := range st.Pools {
		if st.Pools[i].Nodes == nil {
			st.Pools[i].Nodes = []roost.NodeStatus{}
		}
	}
	body, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		problem(w, http.StatusInternalServerError, "the status cannot be written as JSON: "+err.Error())
		return
	}
	respond(w, http.StatusOK, "application/json", body)
}

// problem answers with RFC 9457 problem details. The type is about:blank: the status says it all.
func problem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{http.StatusText(status), status, detail})
	if err != nil {
		panic(err) // two strings and a number always marshal
	}
	respond(w, status, "application/problem+json", body)
}

func respond(w http.ResponseWriter, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // fails when the client is gone
}

func text(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
}
