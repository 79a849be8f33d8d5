package demo

import (
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// robin is what Roost is compared with: round robin as it usually is. It keeps connections, leaves a node out for a
// while that refuses them, and gives the call to the next one.
type robin struct {
	httputil.ReverseProxy
	nodes []robinNode
	turn  atomic.Uint64
	tr    *http.Transport
}

type robinNode struct {
	addr string
	out  atomic.Int64 // Unix nanoseconds until which it is left out
}

// robinOut is how long a node is left out: nginx's fail_timeout.
const robinOut = 10 * time.Second

// newRobin balances over addresses, and keeps up to conns connections to each.
func newRobin(addrs []string, conns int) *robin {
	r := &robin{nodes: make([]robinNode, len(addrs)), tr: keepAlive(conns)}
	for i, addr := range addrs {
		r.nodes[i].addr = addr
	}
	r.ReverseProxy = httputil.ReverseProxy{
		Transport: r,
		ErrorLog:  discard,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http"})
			p.SetXForwarded()
		},
	}
	return r
}

// RoundTrip tries nodes in turn until one takes the connection.
func (r *robin) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	err = errors.New("no node takes connections")
	for range r.nodes {
		n := &r.nodes[r.turn.Add(1)%uint64(len(r.nodes))]
		now := time.Now()
		if n.out.Load() > now.UnixNano() {
			continue
		}
		req.URL.Host = n.addr // ours: ReverseProxy made it for this call
		resp, err = r.tr.RoundTrip(req)
		var op *net.OpError
		if err == nil || !errors.As(err, &op) || op.Op != "dial" {
			return resp, err
		}
		n.out.Store(now.Add(robinOut).UnixNano())
	}
	return nil, err
}

// keepAlive is a transport that keeps connections, and goes through no proxy.
func keepAlive(conns int) *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: conns, DisableCompression: true}
}
