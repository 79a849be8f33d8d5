package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// New reads what o names. Nothing is dialled yet.
func New(o Options) (*Client, error) {
	c := &Client{agent: strings.TrimSuffix("roost/"+o.Version, "/")}
	// No proxy from the environment; and each call by a connection of its own, so that it reaches the process that serves
	// now when an upgrade came in between.
	tr := &http.Transport{DisableKeepAlives: true}
	c.http = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if o.Address == "" {
		c.places, c.base = o.Sockets, "http://localhost" // a name that every admin listener answers to
		tr.DialContext = c.dialSockets
		return c, nil
	}
	u, err := address(o.Address)
	if err != nil {
		return nil, err
	}
	c.base, c.places = u.Scheme+"://"+u.Host, []string{u.Host}
	tr.DialContext = c.dialAddress
	if o.Token != "" {
		if c.token, err = token(o.Token); err != nil {
			return nil, err
		}
		if u.Scheme == "http" && !loopback(u.Hostname()) {
			return nil, fmt.Errorf("%s is another machine, and http would show it and everyone between the token; write https://%s", u.Host, u.Host)
		}
	}
	if u.Scheme == "https" {
		if tr.TLSClientConfig, err = authority(o.CA); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// address reads host:port, with a scheme or without.
func address(text string) (*url.URL, error) {
	full := text
	if !strings.Contains(text, "://") {
		full = "http://" + text
	}
	u, err := url.Parse(full)
	if err != nil || u.Hostname() == "" || u.Port() == "" || u.User != nil || u.RawQuery != "" || u.Path != "" && u.Path != "/" ||
		u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the address of an admin listener; write for example 127.0.0.1:7070 or https://balancer.example.com:7070", text)
	}
	return u, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

// maxToken bounds a token's file: a token has 43 characters.
const maxToken = 4096

func token(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	t := strings.TrimSpace(string(text))
	if t == "" || len(t) > maxToken || strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("read the token: %s holds none; the balancer's own is admin.token in its state directory", file)
	}
	return t, nil
}

func authority(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read the authority: %s holds no certificate in PEM", file)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// maxUnixPath is how long the path of a unix socket can be: sun_path less its final NUL.
const maxUnixPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// nobody lists the places where nobody answered, and why.
type nobody struct {
	places []string
	errs   []error
}

func (n *nobody) Error() string {
	var b strings.Builder
	b.WriteString(ErrNobody.Error())
	for i, p := range n.places {
		fmt.Fprintf(&b, "\n  %s: %s", p, why(n.errs[i]))
	}
	return b.String()
}

func (n *nobody) Is(target error) bool { return target == ErrNobody }

// why says in short what the errors of dialling mean here.
func why(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "nothing there"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied; ask as root or as the balancer's own user"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}

// dialSockets connects to the first socket that answers.
func (c *Client) dialSockets(ctx context.Context, _, _ string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	n := &nobody{places: c.places}
	for _, path := range c.places {
		conn, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			return conn, nil
		}
		if len(path) > maxUnixPath {
			err = fmt.Errorf("the path of a unix socket has at most %d bytes, this has %d", maxUnixPath, len(path))
		}
		n.errs = append(n.errs, err)
	}
	return nil, n
}

func (c *Client) dialAddress(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, &nobody{places: c.places, errs: []error{err}}
	}
	return conn, nil
}
