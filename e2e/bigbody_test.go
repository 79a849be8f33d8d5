package e2e

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pattern reads left bytes of which no two blocks are alike, and sums them.
type pattern struct {
	left  int64
	sum   hash.Hash32
	n     uint64
	block [64 << 10]byte
	rest  []byte
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	if len(p.rest) == 0 {
		p.n++
		binary.BigEndian.PutUint64(p.block[:], p.n)
		p.rest = p.block[:min(int64(len(p.block)), p.left)]
	}
	n := copy(b, p.rest)
	p.sum.Write(b[:n])
	p.rest = p.rest[n:]
	p.left -= int64(n)
	return n, nil
}

// tally is what a body was: its length and CRC-32C.
type tally struct {
	Bytes int64
	Sum   uint32
}

// bulk is a node that takes a body and answers with its tally, or gives one of ?bytes=N, chunked for ?chunked=1.
var bulk = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		n, _ := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
		if r.URL.Query().Get("chunked") == "" {
			w.Header().Set("Content-Length", fmt.Sprint(n))
		}
		p := &pattern{left: n, sum: crc32.New(castagnoli)}
		io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{p}, make([]byte, 256<<10))
		return
	}
	sum := crc32.New(castagnoli)
	n, err := io.CopyBuffer(sum, r.Body, make([]byte, 256<<10))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	json.NewEncoder(w).Encode(tally{n, sum.Sum32()})
})

// TestBodiesOfAnySizeInFlatMemory moves bodies beyond 32 bits both ways.
func TestBodiesOfAnySizeInFlatMemory(t *testing.T) {
	b := serve(t, "--nodes", newNode(t, bulk))
	for _, c := range []struct {
		name    string
		h2c     bool
		chunked bool
		bytes   int64
	}{
		{"5 GB by HTTP/1.1", false, false, 5_000_000_000},
		{"256 MiB in chunks", false, true, 256 << 20},
		{"256 MiB by HTTP/2", true, false, 256 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := newClient(t, c.h2c)
			t.Run("up", func(t *testing.T) {
				flat(t, b, c.bytes, func(n int64) { upload(t, client, b.url("/bulk"), n, c.chunked) })
			})
			t.Run("down", func(t *testing.T) {
				flat(t, b, c.bytes, func(n int64) { download(t, client, b.url("/bulk"), n, c.chunked) })
			})
		})
	}
}

func upload(t *testing.T, client *http.Client, url string, n int64, chunked bool) {
	t.Helper()
	p := &pattern{left: n, sum: crc32.New(castagnoli)}
	req, err := http.NewRequest(http.MethodPut, url, struct{ io.Reader }{p})
	if err != nil {
		t.Fatal(err)
	}
	if !chunked {
		req.ContentLength = n
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got tally
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	if want := (tally{n, p.sum.Sum32()}); got != want {
		t.Errorf("the node got %+v, want %+v", got, want)
	}
}

func download(t *testing.T, client *http.Client, url string, n int64, chunked bool) {
	t.Helper()
	url += fmt.Sprintf("?bytes=%d", n)
	if chunked {
		url += "&chunked=1"
	}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if chunked == (resp.ContentLength >= 0) {
		t.Errorf("Content-Length is %d, chunked %v", resp.ContentLength, chunked)
	}
	got := crc32.New(castagnoli)
	m, err := io.CopyBuffer(got, resp.Body, make([]byte, 256<<10))
	if err != nil {
		t.Fatal(err)
	}
	want := &pattern{left: n, sum: crc32.New(castagnoli)}
	io.CopyBuffer(io.Discard, struct{ io.Reader }{want}, make([]byte, 256<<10))
	if m != n || got.Sum32() != want.sum.Sum32() {
		t.Errorf("got %d bytes, sum %x, want %d, %x", m, got.Sum32(), n, want.sum.Sum32())
	}
}

// maxGrowth is what the balancer's memory may grow by over a body of any size: buffers, and garbage until it is
// collected.
const maxGrowth = 20 << 20

// flat checks that moving n bytes grows the balancer's resident memory by next to nothing, its peak included.
func flat(t *testing.T, b *balancer, n int64, move func(n int64)) {
	t.Helper()
	move(8 << 20) // buffers and pools are there now
	before := b.resetPeak(t)
	begin := time.Now()
	move(n)
	took := time.Since(begin)
	t.Logf("%d bytes in %v, %.2f GB/s", n, took.Round(time.Millisecond), float64(n)/1e9/took.Seconds())
	if before == 0 {
		return
	}
	peak := b.memory(t, "VmHWM:")
	t.Logf("resident %d KiB before, peak %d KiB", before>>10, peak>>10)
	if peak-before > maxGrowth {
		t.Errorf("resident memory grew from %d to %d KiB", before>>10, peak>>10)
	}
}

// resetPeak makes the peak of resident memory what it is now, and returns it; 0 where the system cannot.
func (b *balancer) resetPeak(t *testing.T) int64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Log("SKIP: the peak of a process's memory is known on Linux only")
		return 0
	}
	err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", b.cmd.Process.Pid), []byte("5"), 0) // since Linux 4.0
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		t.Log("SKIP: the peak of memory cannot be reset: ", err)
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.memory(t, "VmRSS:")
}

// memory reads a line of /proc/PID/status, in bytes.
func (b *balancer) memory(t *testing.T, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				return kib << 10
			}
		}
	}
	t.Fatalf("no %s in /proc", name)
	return 0
}
