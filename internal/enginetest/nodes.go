package enginetest

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"roost"
)

func (engine subject) TestNodesOnUnixSocketsAndIPv6AndByName(t *testing.T) {
	dir := t.TempDir()
	for _, where := range []struct{ network, listen string }{
		{"unix", filepath.Join(dir, "n.sock")}, {"tcp", "[::1]:0"}, {"tcp", "127.0.0.1:0"},
	} {
		ln, err := net.Listen(where.network, where.listen)
		if err != nil {
			t.Logf("skipping %s: %v", where.listen, err)
			continue
		}
		var both http.Protocols
		both.SetHTTP1(true)
		both.SetUnencryptedHTTP2(true)
		s := &http.Server{Protocols: &both, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) })}
		done := make(chan bool)
		go func() { s.Serve(ln); close(done) }()
		addr := ln.Addr().String()
		switch {
		case where.network == "unix":
			addr = "unix:" + addr
		case where.listen == "127.0.0.1:0":
			_, port, _ := net.SplitHostPort(addr)
			addr = "localhost:" + port
		}
		for _, h2 := range []roost.NodeProtocol{roost.ProtocolHTTP1, roost.ProtocolH2C} {
			p := engine.start(t, func(s *Setup) { s.Pool.Protocol = h2 }, addr)
			_, br := p.Send(CRLF("GET / HTTP/1.1", "Host: shop"))
			if res, body := ReadAnswer(t, br, "GET"); res.StatusCode != 200 || body != "shop" {
				t.Errorf("%s: got %d %q", addr, res.StatusCode, body)
			}
			p.Close()
		}
		s.Close()
		<-done
	}
}
