package probe

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"roost"
)

func TestAProbeSpeaksForItselfToANodeThatWantsPROXYHeaders(t *testing.T) {
	for version, header := range map[uint8]string{0: "", 1: "PROXY UNKNOWN\r\n", 2: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"} {
		got := make(chan string, 2)
		addr := node(t, func(c net.Conn) {
			b := make([]byte, len(header))
			io.ReadFull(c, b)
			got <- string(b)
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			}
		})
		for _, kind := range []roost.HealthKind{roost.HealthHTTP, roost.HealthTCP} {
			tg := httpTarget(addr)
			tg.Settings.Kind, tg.Settings.SendProxy = kind, version
			want(t, reason(t, tg), "well")
			if b := <-got; b != header {
				t.Errorf("version %d: the node got %q", version, b)
			}
		}
	}
}
