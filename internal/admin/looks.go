package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"roost"
	"roost/internal/api"
)

// InPool, InNode and IfMatch are what requests have in common; huma finds them by their tags.
type (
	InPool struct {
		Pool roost.PoolID `path:"pool" doc:"name of a pool" example:"default"`
	}
	InNode struct {
		InPool
		Node roost.NodeID `path:"node" doc:"id of a node, percent-encoded: its name, else its address" example:"10.0.0.1:8080"`
	}
	IfMatch struct {
		IfMatch string `header:"If-Match" doc:"a revision in quotes, as an ETag gave it: the change is made only if none was made since" example:"\"42\""`
	}
	nothing struct{}
)

// shown is an answer.
type shown[T any] struct{ Body T }

// revised is an answer about what changes can change.
type revised[T any] struct {
	ETag string `header:"ETag" doc:"the revision of all changes, for If-Match"`
	Body T
}

func revision[T any](rev uint64, body T) *revised[T] {
	return &revised[T]{fmt.Sprintf(`"%d"`, rev), body}
}

// looks are the routes that show pools, nodes, keys and tables.
func (r *router) looks() {
	noPool := []int{http.StatusNotFound}
	known := r.options.Status != nil
	add(r, http.MethodGet, "/status", "status", "The whole balancer", known, nil,
		func(context.Context, *nothing) (*revised[roost.Status], error) {
			st := r.options.Status()
			return revision(st.Revision, st), nil
		})
	add(r, http.MethodGet, "/nodes", "nodes", "The nodes of all pools", known, nil,
		func(context.Context, *nothing) (*revised[[]api.PoolNode], error) {
			st := r.options.Status()
			var all []api.PoolNode
			for _, p := range st.Pools {
				for _, n := range p.Nodes {
					all = append(all, api.PoolNode{Pool: p.ID, NodeStatus: n})
				}
			}
			return revision(st.Revision, all), nil
		})
	add(r, http.MethodGet, "/pools", "pools", "All pools", known, nil,
		func(context.Context, *nothing) (*revised[[]roost.PoolStatus], error) {
			st := r.options.Status()
			return revision(st.Revision, st.Pools), nil
		})
	add(r, http.MethodGet, "/pools/{pool}", "pool", "One pool", known, noPool,
		func(_ context.Context, in *InPool) (*revised[roost.PoolStatus], error) {
			p, rev, err := r.pool(in.Pool)
			return revision(rev, p), err
		})
	add(r, http.MethodGet, "/pools/{pool}/nodes", "pool-nodes", "The nodes of a pool", known, noPool,
		func(_ context.Context, in *InPool) (*revised[[]roost.NodeStatus], error) {
			p, rev, err := r.pool(in.Pool)
			return revision(rev, p.Nodes), err
		})
	add(r, http.MethodGet, "/pools/{pool}/nodes/{node}", "node", "One node", known, noPool,
		func(_ context.Context, in *InNode) (*revised[roost.NodeStatus], error) {
			n, rev, err := r.node(in.Pool, in.Node)
			return revision(rev, n), err
		})
	add(r, http.MethodGet, "/pools/{pool}/keys/where", "where", "Where a key lives now", r.options.Key != nil, noPool,
		func(_ context.Context, in *struct {
			InPool
			Key string `query:"key" required:"true" doc:"the key" example:"acme/billing"`
		}) (*shown[api.Key], error) {
			k, err := r.options.Key(in.Pool, in.Key)
			return show(k, err)
		})
	add(r, http.MethodGet, "/pools/{pool}/pins", "pins", "The keys placed by hand", known && r.options.Table != nil, noPool,
		func(_ context.Context, in *InPool) (*revised[[]api.Pin], error) {
			rev := r.options.Status().Revision // before the table: a pin that is new must not hide behind a newer revision
			t, err := r.options.Table(in.Pool, false)
			if err != nil {
				return nil, failed(err, http.StatusUnprocessableEntity, api.CodeInvalid)
			}
			return revision(rev, t.Pins), nil
		})
	add(r, http.MethodGet, "/pools/{pool}/table", "table", "A pool's table", r.options.Table != nil, noPool,
		func(_ context.Context, in *struct {
			InPool
			Rows bool `query:"rows" doc:"with the homes of every slot"`
		}) (*shown[api.Table], error) {
			t, err := r.options.Table(in.Pool, in.Rows)
			return show(t, err)
		})
}

// show answers with v, or says what was wrong with the question.
func show[T any](v T, err error) (*shown[T], error) {
	if err != nil {
		return nil, failed(err, http.StatusUnprocessableEntity, api.CodeInvalid)
	}
	return &shown[T]{v}, nil
}

// pool is a pool's status, and the revision that it is of.
func (s *Server) pool(id roost.PoolID) (roost.PoolStatus, uint64, error) {
	st := s.options.Status()
	i := slices.IndexFunc(st.Pools, func(p roost.PoolStatus) bool { return p.ID == id })
	if i < 0 {
		return roost.PoolStatus{}, 0, refuse(http.StatusNotFound, roost.CodeNoPool, "there is no pool %q", id)
	}
	return st.Pools[i], st.Revision, nil
}

func (s *Server) node(pool roost.PoolID, id roost.NodeID) (roost.NodeStatus, uint64, error) {
	p, rev, err := s.pool(pool)
	if err != nil {
		return roost.NodeStatus{}, 0, err
	}
	i := slices.IndexFunc(p.Nodes, func(n roost.NodeStatus) bool { return n.ID == id })
	if i < 0 {
		return roost.NodeStatus{}, 0, refuse(http.StatusNotFound, roost.CodeNoNode, "pool %q has no node %q", pool, id)
	}
	return p.Nodes[i], rev, nil
}
