package admin

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"roost"
	"roost/internal/api"
)

// causeOperator is the cause of a hold that the API makes.
const causeOperator = "operator"

// changes are the routes that change pools, nodes and keys.
func (r *router) changes() {
	errors := []int{http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed, http.StatusServiceUnavailable}
	offered := r.options.Change != nil
	add(r, http.MethodPatch, "/pools/{pool}", "set-homes", "How many homes a key of the pool has", offered, errors,
		func(ctx context.Context, in *struct {
			InPool
			IfMatch
			Body api.Homes
		}) (*revised[api.Changed], error) {
			c := roost.SetHomes{Pool: in.Pool}
			if in.Body.Homes != nil {
				c.Homes = *in.Body.Homes
			}
			return r.change(ctx, in.IfMatch, c)
		})
	add(r, http.MethodPost, "/pools/{pool}/nodes", "add-node", "List a node", offered && r.options.Node != nil, errors,
		func(ctx context.Context, in *struct {
			InPool
			IfMatch
			Body api.Node
		}) (*revised[api.Changed], error) {
			n, err := r.newNode(in.Body)
			if err != nil {
				return nil, err
			}
			return r.change(ctx, in.IfMatch, roost.AddNode{Pool: in.Pool, Node: n})
		})
	add(r, http.MethodPatch, "/pools/{pool}/nodes/{node}", "set-weight", "Weigh a node", offered, errors,
		func(ctx context.Context, in *struct {
			InNode
			IfMatch
			Body api.Weight
		}) (*revised[api.Changed], error) {
			c := roost.SetWeight{Pool: in.Pool, Node: in.Node}
			if in.Body.Weight != nil {
				c.Weight = thousandths(*in.Body.Weight)
			}
			return r.change(ctx, in.IfMatch, c)
		})
	add(r, http.MethodDelete, "/pools/{pool}/nodes/{node}", "remove-node", "Take a listed node back", offered, errors,
		func(ctx context.Context, in *struct {
			InNode
			IfMatch
		}) (*revised[api.Changed], error) {
			return r.change(ctx, in.IfMatch, roost.RemoveNode{Pool: in.Pool, Node: in.Node})
		})
	hold := func(verb, summary string, kind roost.HoldKind) {
		add(r, http.MethodPost, "/pools/{pool}/nodes/{node}/"+verb, verb, summary, offered, errors,
			func(ctx context.Context, in *struct {
				InNode
				IfMatch
				Body *api.Hold
			}) (*revised[api.Changed], error) {
				c := roost.SetHold{Pool: in.Pool, Node: in.Node, Hold: roost.Hold{Kind: kind, Cause: causeOperator}}
				if in.Body != nil {
					var err error
					if c.Hold.Deadline, err = deadline(in.Body.Deadline); err != nil {
						return nil, err
					}
					c.Force = in.Body.Force
				}
				return r.change(ctx, in.IfMatch, c)
			})
	}
	hold("drain", "A node keeps what it has and gets nothing new", roost.Draining)
	hold("down", "A node gets nothing, and what is open there is ended", roost.Down)
	add(r, http.MethodPost, "/pools/{pool}/nodes/{node}/undrain", "undrain", "Take a drain or down back", offered, errors,
		func(ctx context.Context, in *struct {
			InNode
			IfMatch
		}) (*revised[api.Changed], error) {
			return r.change(ctx, in.IfMatch, roost.LiftHold{Pool: in.Pool, Node: in.Node})
		})
	add(r, http.MethodPut, "/pools/{pool}/pins", "pin", "Place a key by hand", offered, errors,
		func(ctx context.Context, in *struct {
			InPool
			IfMatch
			Body api.Pin
		}) (*revised[api.Changed], error) {
			pin := roost.PinIntent{Key: in.Body.Key, Nodes: in.Body.Nodes, Homes: in.Body.Homes}
			return r.change(ctx, in.IfMatch, roost.SetPin{Pool: in.Pool, Pin: pin})
		})
	add(r, http.MethodDelete, "/pools/{pool}/pins", "unpin", "Let a key go where its table says", offered, errors,
		func(ctx context.Context, in *struct {
			InPool
			IfMatch
			Key string `query:"key" required:"true" doc:"the key" example:"acme/billing"`
		}) (*revised[api.Changed], error) {
			return r.change(ctx, in.IfMatch, roost.RemovePin{Pool: in.Pool, Key: in.Key})
		})
}

// change makes one change.
func (s *Server) change(ctx context.Context, match IfMatch, c roost.Change) (*revised[api.Changed], error) {
	rev, err := match.revision()
	if err != nil {
		return nil, err
	}
	done, err := s.options.Change(ctx, c, rev)
	if err != nil {
		return nil, failed(err, http.StatusInternalServerError, api.CodeInternal)
	}
	return revision(done.Revision, done), nil
}

// revision reads If-Match (RFC 9110, 13.1.1): one revision, or none. A weak one never matches.
func (m IfMatch) revision() (*uint64, error) {
	text := strings.TrimSpace(m.IfMatch)
	switch {
	case text == "" || text == "*": // whatever it is
		return nil, nil
	case strings.HasPrefix(text, "W/"):
		return nil, refuse(http.StatusPreconditionFailed, roost.CodeRevMoved, "a weak revision in If-Match fits nothing")
	}
	inner, opened := strings.CutPrefix(text, `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	rev, err := strconv.ParseUint(inner, 10, 64)
	if err != nil || !opened || !closed {
		return nil, refuse(http.StatusBadRequest, api.CodeBadRequest, `If-Match is one revision in quotes, as in "42", not %s`, text)
	}
	return &rev, nil
}

// newNode is the node that a body describes. Name and address are checked by Options.Node, which knows them as the short
// form; what that form has beside them is refused here.
func (s *Server) newNode(n api.Node) (roost.Node, error) {
	text := n.Address
	if n.Name != "" {
		text = n.Name + "=" + n.Address
	}
	if strings.ContainsAny(n.Address, "=*") && !strings.HasPrefix(n.Address, "unix:") || strings.Contains(n.Name, "=") {
		return roost.Node{}, refuse(http.StatusUnprocessableEntity, api.CodeInvalid,
			"%s: name, address and weight are fields of their own here", strconv.Quote(text))
	}
	made, err := s.options.Node(text)
	if err != nil {
		return roost.Node{}, failed(err, http.StatusUnprocessableEntity, api.CodeInvalid)
	}
	if n.Name != "" && made.ID != roost.NodeID(n.Name) {
		return roost.Node{}, refuse(http.StatusUnprocessableEntity, api.CodeInvalid, "%s is no name of a node", strconv.Quote(n.Name))
	}
	made.Zone, made.Weight = n.Zone, roost.WeightOne
	if n.Weight != 0 {
		made.Weight = thousandths(n.Weight)
	}
	return made, nil
}

// thousandths is a weight as the dictionary has it. Its range is in the schema.
func thousandths(weight float64) uint32 { return uint32(weight*roost.WeightOne + 0.5) }

// deadline reads how long a drain may take; "" is for ever.
func deadline(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, refuse(http.StatusUnprocessableEntity, api.CodeInvalid, "body.deadline: %s is not a duration above zero; write for example 10m",
			strconv.Quote(text))
	}
	return d, nil
}
