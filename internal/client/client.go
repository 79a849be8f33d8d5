// Package client asks a running balancer's admin API, over its unix socket or over TCP with a token.
//
// Guarantee: every call ends, by an answer or by its time limit; a balancer's refusal is a *Problem in its own words, and
// that none answers is ErrNobody with every place that was tried.
//
// Trap: a call that ran out of time may have been done all the same. Whoever changes something looks again before he
// repeats it.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"roost/internal/api"
)

// Limits of a call.
const (
	dialTimeout = 2 * time.Second  // the balancer is on this machine, or near
	callTimeout = 15 * time.Second // a change waits for the store (2 s) and for the next snapshot

	// slowTimeout is for calls that do a lot before they answer: a reload reads every file and opens listeners, an
	// upgrade waits for the new process.
	slowTimeout = 2 * time.Minute

	// maxAnswer bounds what is read of an answer: the rows of the largest table (2^22 slots, 4 homes each) with names of 12
	// bytes fit.
	maxAnswer = 256 << 20
)

// Options say where the balancer is. Address wins over Sockets.
type Options struct {
	Sockets []string // paths of unix sockets, tried in this order until one answers
	Address string   // host:port, http://host:port or https://host:port
	Token   string   // file with the bearer token; "": none is sent
	CA      string   // file with the certificates (PEM) that vouch for an https address; "": the system's
	Version string   // of the program that asks, for the balancer's log
}

// Client asks one balancer. It may be used by several goroutines.
type Client struct {
	base   string // scheme://host
	token  string
	agent  string
	places []string // that are dialled, as people know them
	http   *http.Client
}

// ErrNobody is what errors are when no balancer answers.
var ErrNobody = errors.New("no balancer answers")

// Problem is a balancer's refusal.
type Problem struct{ Problem api.Problem }

func (p *Problem) Error() string { return p.Problem.Detail }

// call sends body as JSON, unless it is nil, and reads the answer into answer.
func (c *Client) call(ctx context.Context, limit time.Duration, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := c.send(ctx, method, path, body, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(answer); err != nil {
		return c.unread(ctx, method, path, err)
	}
	return nil
}

// send makes a request and returns an answer of success, or an error.
func (c *Client) send(ctx context.Context, method, path string, body any, header http.Header) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, r)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	req.Header.Set("User-Agent", c.agent)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unread(ctx, method, path, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refused(resp)
}

// refused makes an error of an answer that is none of success.
func (c *Client) refused(resp *http.Response) error {
	var p api.Problem
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind == "application/problem+json" && json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&p) == nil && p.Detail != "" {
		p.Status = resp.StatusCode
		return &Problem{p}
	}
	return fmt.Errorf("%s answered %s, which is not how a balancer's admin listener answers; is it its address, and is it http or https?",
		c.where(), resp.Status)
}

// unread makes an error of what kept an answer from being read.
func (c *Client) unread(ctx context.Context, method, path string, err error) error {
	var none *nobody
	var untrusted *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		return fmt.Errorf("%w in time at %s", ErrNobody, c.where())
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &none):
		return none
	case errors.As(err, &untrusted):
		return fmt.Errorf("the certificate of %s cannot be trusted: %w; name the file of the authority that signed it", c.where(), untrusted.Err)
	case errors.As(err, &op), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w to the end at %s: %w", ErrNobody, c.where(), err)
	}
	return fmt.Errorf("%s %s at %s: %w", method, path, c.where(), err)
}

func (c *Client) where() string { return strings.Join(c.places, ", ") }
