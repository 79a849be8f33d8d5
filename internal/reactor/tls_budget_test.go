//go:build linux

package reactor

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"

	"roost"
)

// crypto/tls keeps the buffer that the largest record needed; the rest is its state, two ciphers and our own.
func TestAnIdleTLSConnectionIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many connections")
	}
	for _, x := range []struct{ body, most int }{{100, 8 << 10}, {32 << 10, 26 << 10}} {
		d := openTLS(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Write(make([]byte, x.body))
		}, func(d *tlsDoor, _ *roost.Snapshot) { d.conf.MinVersion = tls.VersionTLS13 })
		conf := d.client()
		conf.DynamicRecordSizingDisabled = true
		connect := func() {
			s := d.shake(d.dial(), conf)
			fmt.Fprintf(s, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", x.body)
			s.Write(make([]byte, x.body))
			answer(t, bufio.NewReader(s))
		}
		connect() // what is there once is not counted
		const n = 300
		before := heap()
		for range n {
			connect()
		}
		each := (heap() - before) / n
		t.Logf("after records of %d bytes: %d bytes each", min(x.body, maxRecord), each)
		if each > x.most {
			t.Errorf("after records of %d bytes: %d bytes each, with the client's socket", min(x.body, maxRecord), each)
		}
	}
}

// heap is how many bytes live.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
