package e2e

import (
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os/exec"
	"testing"
	"time"
)

// TestGRPCInteroperability runs gRPC's own client against gRPC's own server, through Roost, by HTTP/2 with prior
// knowledge on both sides.
func TestGRPCInteroperability(t *testing.T) {
	t.Parallel()
	client, server := tool(t, "client"), tool(t, "server")
	addr := freePort(t)
	_, port, _ := net.SplitHostPort(addr)
	start(t, exec.Command(server, "-port", port)).listens(t, addr)
	b := serve(t, "--nodes", addr)
	host, port, _ := net.SplitHostPort(b.addr)
	cases := []string{"large_unary", "empty_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
		"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
		"special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service"}
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			out, errs, code := command(t, time.Minute, "", client, "-server_host", host, "-server_port", port, "-use_tls=false", "-test_case", name)
			if code != 0 {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
		})
	}
}

// TestLargeStreamsByGRPC sends 128 MiB each way at once in one call that looks like gRPC's, so that it goes to the node
// by HTTP/2, trailers included.
func TestLargeStreamsByGRPC(t *testing.T) {
	t.Parallel()
	const size = 128 << 20
	addr := newNode(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		w.Header().Set("Got-Proto", r.Proto)
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		if _, err := io.Copy(w, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Grpc-Status", "0")
	}))
	b := serve(t, "--nodes", addr)
	sent := &pattern{left: size, sum: crc32.New(castagnoli)}
	req, err := http.NewRequest(http.MethodPost, b.url("/large.Service/Both"), sent)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := newClient(t, true).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := crc32.New(castagnoli)
	n, err := io.Copy(got, resp.Body)
	if err != nil || n != size || got.Sum32() != sent.sum.Sum32() {
		t.Errorf("%d of %d bytes came back, sum %x, want %x, %v", n, size, got.Sum32(), sent.sum.Sum32(), err)
	}
	if status := resp.Trailer.Get("Grpc-Status"); status != "0" {
		t.Errorf("trailer grpc-status is %q, want 0", status)
	}
	if proto := resp.Header.Get("Got-Proto"); proto != "HTTP/2.0" {
		t.Errorf("the node was spoken to by %q", proto)
	}
}
