package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"unicode/utf8"

	"roost"
	"roost/internal/api"
)

// Status is what the balancer says of itself.
func (c *Client) Status(ctx context.Context) (*roost.Status, error) {
	return get[roost.Status](ctx, c, "/status")
}

// Pools are all pools with their nodes.
func (c *Client) Pools(ctx context.Context) ([]roost.PoolStatus, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	return s.Pools, nil
}

// Pool is one pool with its nodes.
func (c *Client) Pool(ctx context.Context, pool roost.PoolID) (*roost.PoolStatus, error) {
	return get[roost.PoolStatus](ctx, c, poolPath(pool))
}

// Node is one node of a pool.
func (c *Client) Node(ctx context.Context, pool roost.PoolID, node roost.NodeID) (*roost.NodeStatus, error) {
	return get[roost.NodeStatus](ctx, c, nodePath(pool, node))
}

// AddNode lists a node in a pool.
func (c *Client) AddNode(ctx context.Context, pool roost.PoolID, n api.Node) (*api.Changed, error) {
	return c.change(ctx, http.MethodPost, poolPath(pool)+"/nodes", n)
}

// RemoveNode takes back an AddNode.
func (c *Client) RemoveNode(ctx context.Context, pool roost.PoolID, node roost.NodeID) (*api.Changed, error) {
	return c.change(ctx, http.MethodDelete, nodePath(pool, node), nil)
}

// SetWeight weighs a node; nil takes the wish back.
func (c *Client) SetWeight(ctx context.Context, pool roost.PoolID, node roost.NodeID, weight *float64) (*api.Changed, error) {
	return c.change(ctx, http.MethodPatch, nodePath(pool, node), api.Weight{Weight: weight})
}

// Drain lets a node keep what it has and gives it nothing new.
func (c *Client) Drain(ctx context.Context, pool roost.PoolID, node roost.NodeID, h api.Hold) (*api.Changed, error) {
	return c.change(ctx, http.MethodPost, nodePath(pool, node)+"/drain", h)
}

// Down gives a node nothing and ends the connections that are open there.
func (c *Client) Down(ctx context.Context, pool roost.PoolID, node roost.NodeID, h api.Hold) (*api.Changed, error) {
	return c.change(ctx, http.MethodPost, nodePath(pool, node)+"/down", h)
}

// Undrain takes back a Drain or Down.
func (c *Client) Undrain(ctx context.Context, pool roost.PoolID, node roost.NodeID) (*api.Changed, error) {
	return c.change(ctx, http.MethodPost, nodePath(pool, node)+"/undrain", nil)
}

// SetHomes sets how many homes a key of the pool has; nil takes the wish back.
func (c *Client) SetHomes(ctx context.Context, pool roost.PoolID, homes *uint8) (*api.Changed, error) {
	return c.change(ctx, http.MethodPatch, poolPath(pool), api.Homes{Homes: homes})
}

// Where says where a key lives.
func (c *Client) Where(ctx context.Context, pool roost.PoolID, key string) (*api.Key, error) {
	return get[api.Key](ctx, c, poolPath(pool)+"/keys/where?key="+url.QueryEscape(key))
}

// Pins are the keys of a pool that were placed by hand.
func (c *Client) Pins(ctx context.Context, pool roost.PoolID) ([]api.Pin, error) {
	pins, err := get[[]api.Pin](ctx, c, poolPath(pool)+"/pins")
	if err != nil {
		return nil, err
	}
	return *pins, nil
}

// SetPin places a key by hand.
func (c *Client) SetPin(ctx context.Context, pool roost.PoolID, p api.Pin) (*api.Changed, error) {
	if err := speakable("key", p.Key); err != nil {
		return nil, err
	}
	return c.change(ctx, http.MethodPut, poolPath(pool)+"/pins", p)
}

// RemovePin takes back a SetPin.
func (c *Client) RemovePin(ctx context.Context, pool roost.PoolID, key string) (*api.Changed, error) {
	return c.change(ctx, http.MethodDelete, poolPath(pool)+"/pins?key="+url.QueryEscape(key), nil)
}

// Table is a pool's table, with the homes of every slot when rows is set.
func (c *Client) Table(ctx context.Context, pool roost.PoolID, rows bool) (*api.Table, error) {
	if rows {
		return get[api.Table](ctx, c, poolPath(pool)+"/table?rows=true")
	}
	return get[api.Table](ctx, c, poolPath(pool)+"/table")
}

// Config is the configuration in use.
func (c *Client) Config(ctx context.Context) (*api.Config, error) {
	return get[api.Config](ctx, c, "/config")
}

// Reload reads the configuration again, or only says what that would change. A configuration with mistakes is an answer,
// not an error.
func (c *Client) Reload(ctx context.Context, dry bool) (*api.Reload, error) {
	path := "/reload"
	if dry {
		path += "?dry_run=true"
	}
	var r api.Reload
	return &r, c.call(ctx, slowTimeout, http.MethodPost, path, nil, &r)
}

// Explain says where a request would go, and why.
func (c *Client) Explain(ctx context.Context, q api.Request) (*api.Explanation, error) {
	for _, text := range append([]string{q.URL}, q.Fields...) {
		if err := speakable("request", text); err != nil {
			return nil, err
		}
	}
	var e api.Explanation
	return &e, c.call(ctx, callTimeout, http.MethodPost, "/explain", q, &e)
}

// Upgrade starts the program's new binary and gives it the listeners.
func (c *Client) Upgrade(ctx context.Context) (*api.Upgrade, error) {
	var u api.Upgrade
	return &u, c.call(ctx, slowTimeout, http.MethodPost, "/upgrade", nil, &u)
}

func get[T any](ctx context.Context, c *Client, path string) (*T, error) {
	var t T
	if err := c.call(ctx, callTimeout, http.MethodGet, path, nil, &t); err != nil {
		return nil, err
	}
	return &t, nil
}

func (c *Client) change(ctx context.Context, method, path string, body any) (*api.Changed, error) {
	var a api.Changed
	if err := c.call(ctx, callTimeout, method, path, body, &a); err != nil {
		return nil, err
	}
	return &a, nil
}

// speakable refuses what JSON cannot say: it would become another text on the way.
func speakable(what, text string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("the %s %q is not text in UTF-8", what, text)
	}
	return nil
}

func poolPath(pool roost.PoolID) string { return "/pools/" + url.PathEscape(string(pool)) }

func nodePath(pool roost.PoolID, node roost.NodeID) string {
	return poolPath(pool) + "/nodes/" + url.PathEscape(string(node))
}
