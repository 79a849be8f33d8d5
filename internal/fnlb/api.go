package fnlb

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

//go:embed dash.html
var dash []byte

const (
	// maxBody bounds a request's body, and so a row: it names one node.
	maxBody = 4 << 10
	// maxRows is how many rows the API fills the table with. It asks for no token: whoever may call a function could
	// otherwise add nodes until placing them takes longer (6 s for 4,000, and four times that for twice as many) than
	// anyone waits.
	maxRows = 4096
)

// Handler answers /1/lb/nodes, /1/lb/stats and /1/lb/dash as fnlb does: JSON and a line end, without a Content-Type of
// its own (net/http finds text/plain in it). What fnlb does not know is a 404 with a message.
func (l *LB) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/1/lb/nodes", l.nodes)
	mux.HandleFunc("/1/lb/stats", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, struct {
			Stats []Entry `json:"stats"` // null when there are none
		}{l.stats.take(time.Now())})
	})
	mux.HandleFunc("/1/lb/dash", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		// The page asks nobody but us.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'")
		w.Write(dash)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { say(w, http.StatusNotFound, "unknown command") })
	return mux
}

func (l *LB) nodes(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		answer(w, http.StatusOK, struct {
			Nodes map[string]string `json:"nodes"`
		}{l.states()})
	case http.MethodPut:
		l.change(w, r, l.add, "node added")
	case http.MethodDelete:
		l.change(w, r, l.o.Table.Remove, "node deleted")
	}
	// Any other method: 200 and nothing.
}

func (l *LB) change(w http.ResponseWriter, r *http.Request, do func(context.Context, string) error, done string) {
	var body struct {
		Node string `json:"node"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&body)
	if big := (*http.MaxBytesError)(nil); errors.As(err, &big) {
		say(w, http.StatusRequestEntityTooLarge, err.Error())
		return
	}
	if err != nil {
		say(w, http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), tableTimeout)
	defer cancel()
	if err := do(ctx, body.Node); err != nil {
		say(w, http.StatusInternalServerError, err.Error())
		return
	}
	// In fnlb the change waits for the next look; here it is asked for at once, and if that fails the next look does it.
	if err := l.look(ctx, time.Now(), true); err != nil {
		l.o.Log.Warn("a change of the table takes effect at the next look", "error", err)
	}
	say(w, http.StatusOK, done)
}

// add adds a node unless the table, as last read, has enough.
func (l *LB) add(ctx context.Context, node string) error {
	if rows := *l.rows.Load(); len(rows) >= maxRows && !slices.Contains(rows, node) {
		return fmt.Errorf("the table has %d nodes; delete some first", len(rows))
	}
	return l.o.Table.Add(ctx, node)
}

func say(w http.ResponseWriter, status int, msg string) {
	answer(w, status, struct {
		Msg string `json:"msg"`
	}{msg})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // fails only when the client is gone
}
