package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"unicode"

	"roost"
	"roost/internal/pki"
	"roost/internal/proxyproto"
)

const (
	maxHead   = 16 << 10 // bytes of a response head: a node that needs more to say that it is well, is not
	maxBody   = 64 << 10 // bytes of a response body that are read: a version fits many times
	maxReason = 200      // bytes of a reason: one line of a log or a table
)

// handshake is what a probe does in TLS, in words.
const handshake = "TLS handshake"

// check makes one probe of t. Nil means well; an error says why not, in words for operators.
//
// Each probe opens its own connection. It asks what a new request would ask: whether the node still accepts. On a
// connection kept open a node that can no longer accept looks well, and one that closes idle connections looks ill.
func (p *Prober) check(ctx context.Context, t *roost.Target) error {
	ctx, cancel := context.WithTimeout(ctx, t.Settings.Timeout)
	defer cancel()
	c, err := p.dial(ctx, t)
	if err != nil {
		return explain(ctx, t, "connect", err)
	}
	closed, socket := make(chan struct{}), c
	keep := context.AfterFunc(ctx, func() { socket.Close(); close(closed) })
	defer func() {
		if !keep() {
			<-closed
		}
		c.Close()
	}()
	if t.Settings.TLS != nil {
		secure, err := p.secure(ctx, c, t)
		if err != nil {
			return explain(ctx, t, handshake, err)
		}
		c = secure
	}
	if t.Settings.Kind == roost.HealthTCP {
		return nil
	}
	return p.get(ctx, c, t)
}

// secure shakes hands with the node, and trusts it as requests do. No session is resumed, so that a certificate that
// expires is found out. Trap: in TLS 1.3 a node that refuses ours says so later, to a probe that asks it for something.
func (p *Prober) secure(ctx context.Context, c net.Conn, t *roost.Target) (net.Conn, error) {
	conf, err := p.trust(t.Settings.TLS)
	if err != nil {
		return nil, err
	}
	protocol := ""
	if t.Settings.Kind == roost.HealthHTTP {
		protocol = "http/1.1"
	}
	secure := tls.Client(c, pki.ForNode(conf, t.Addr, protocol))
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure, nil
}

// trust is what targets of one pool have in common, made once.
func (p *Prober) trust(t *roost.NodeTLS) (*tls.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if conf := p.trusts[t.ID]; conf != nil {
		return conf, nil
	}
	conf, err := pki.NodeConfig(t)
	if err == nil {
		p.trusts[t.ID] = conf
	}
	return conf, err
}

// get asks for the path and judges the answer. It follows no redirect: where a node sends others says nothing about it.
func (p *Prober) get(ctx context.Context, c net.Conn, t *roost.Target) error {
	what := "GET " + t.Settings.Path
	u, err := url.ParseRequestURI(t.Settings.Path)
	if err != nil {
		return fmt.Errorf("%s: not a path", what)
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Host: host(t), Close: true,
		Header: http.Header{"User-Agent": {p.userAgent}, "Accept": {"*/*"}}}
	if err := req.Write(c); err != nil {
		return explain(ctx, t, what, err)
	}
	from := &io.LimitedReader{R: c, N: maxHead}
	buf := bufio.NewReader(from)
	res, err := http.ReadResponse(buf, req)
	for err == nil && res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
		res, err = http.ReadResponse(buf, req) // after an interim response; from bounds how many (RFC 9110, 15.2)
	}
	switch {
	case err != nil && from.N == 0:
		return fmt.Errorf("%s: response head over %d KiB", what, maxHead>>10)
	case err != nil:
		return explain(ctx, t, what, err)
	case !expected(&t.Settings, res.StatusCode):
		return fmt.Errorf("%s: status %d, expected %s", what, res.StatusCode, ranges(expect(&t.Settings)))
	}
	from.N = 8 * maxBody // a body in chunks of one byte is six times as long
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return explain(ctx, t, what+": body", err)
	}
	if t.Settings.MinVersion == "" {
		return nil
	}
	if err := gate(body, t.Settings.MinVersion); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// gate is fnlb's: the body is a JSON object whose "version" is a semantic version of at least least.
func gate(body []byte, least string) error {
	var says struct{ Version string }
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&says); err != nil || says.Version == "" {
		return errors.New(`the body is not JSON with a "version"`)
	}
	has, ok := parseVersion(says.Version)
	if !ok {
		return fmt.Errorf("version %q is not a semantic version", says.Version)
	}
	needs, ok := parseVersion(least)
	if !ok {
		return fmt.Errorf("the least version %q is not a semantic version", least)
	}
	if has.compare(needs) < 0 {
		return fmt.Errorf("version %s, expected at least %s", says.Version, least)
	}
	return nil
}

// expect returns the ranges of statuses that are well. Nil means any: fnlb, whose gate is the version, ignores the
// status, and fn servers were run that way.
func expect(s *roost.HealthSettings) [][2]int {
	if len(s.Expect) == 0 && s.MinVersion == "" {
		return [][2]int{{200, 299}}
	}
	return s.Expect
}

func expected(s *roost.HealthSettings, status int) bool {
	in := expect(s)
	for _, r := range in {
		if r[0] <= status && status <= r[1] {
			return true
		}
	}
	return len(in) == 0
}

func ranges(rs [][2]int) string {
	var b strings.Builder
	for i, r := range rs {
		if i > 0 {
			b.WriteString(" or ")
		}
		fmt.Fprint(&b, r[0])
		if r[1] != r[0] {
			fmt.Fprintf(&b, "-%d", r[1])
		}
	}
	return b.String()
}

func host(t *roost.Target) string {
	if t.Settings.Host != "" {
		return t.Settings.Host
	}
	if strings.HasPrefix(t.Addr, "unix:") {
		return "localhost"
	}
	return t.Addr
}

// dial connects to t's host:port or unix:/path, and begins with a PROXY header where the node wants one. Names are resolved each time: a node by name may move.
func dial(ctx context.Context, t *roost.Target) (net.Conn, error) {
	network, addr := "tcp", t.Addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	var d net.Dialer
	if !t.Settings.AllowLinkLocal {
		d.Control = refuse
	}
	c, err := d.DialContext(ctx, network, addr)
	if err != nil || t.Settings.SendProxy == 0 {
		return c, err
	}
	self := proxyproto.Header{Local: true}
	header := proxyproto.AppendV1(nil, &self)
	if t.Settings.SendProxy == 2 {
		header = proxyproto.AppendV2(nil, &self)
	}
	if _, err := c.Write(header); err != nil { // into the empty buffer of a new connection, so that it never waits
		c.Close()
		return nil, err
	}
	return c, nil
}

// refuse keeps a dialer from forbidden addresses. It sees the address that a name resolved to, just before it is dialled.
func refuse(network, addr string, _ syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("read address to dial: %w", err)
	}
	if roost.Forbidden(a.Addr()) {
		return forbiddenError{a.Addr()}
	}
	return nil
}

type forbiddenError struct{ addr netip.Addr }

func (e forbiddenError) Error() string {
	return e.addr.String() + " is a link-local or metadata address, which is not dialled"
}

// explain words an error of the network: what we did, and what came of it, without the addresses that the reader of a
// node's status has before him.
func explain(ctx context.Context, t *roost.Target, what string, err error) error {
	var (
		forbidden forbiddenError
		name      *net.DNSError
		errno     syscall.Errno
	)
	switch {
	case context.Cause(ctx) == context.DeadlineExceeded:
		return fmt.Errorf("%s: no answer within %v", what, t.Settings.Timeout)
	case errors.As(err, &forbidden):
		return fmt.Errorf("%s: %w", what, forbidden)
	case errors.As(err, &name):
		return fmt.Errorf("resolve %s: %s", name.Name, name.Err)
	case errors.As(err, &errno):
		return fmt.Errorf("%s: %w", what, errno)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return fmt.Errorf("%s: the node closed the connection", what)
	case what == handshake:
		return pki.Explain(err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// isLocal tells a failure of this machine: it says nothing about the node, and must not look like the death of all.
func isLocal(err error) bool {
	for _, e := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// clean bounds a reason and takes out what a node could hide in it.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "..."
	}
	return s
}
