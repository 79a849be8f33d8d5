package access

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"roost"
)

var update = flag.Bool("update", false, "rewrite golden files")

// start is 2026-11-20T12:00:00.123Z.
var start = time.Date(2026, 11, 20, 12, 0, 0, 123_456_789, time.UTC).UnixNano()

// full is an ordinary exchange with something to say in most fields.
func full() *roost.Record {
	return &roost.Record{
		Start: start, Route: &roost.Route{Name: "functions"}, Pool: "fn", Key: []byte("app/thumbnail"), Node: "10.0.0.7:8080",
		Why: roost.WhyHome, Tries: 1, Proto: "HTTP/1.1", Method: "POST", Host: "fn.example.com", Target: "/r/app/thumbnail?size=64",
		Client: netip.MustParseAddr("203.0.113.9"), Status: 200, BytesIn: 512, BytesOut: 18_231, Nanos: 12_345_678,
		NodeNanos: 11_000_400,
	}
}

// records are those of the golden file, in its order.
func records() []*roost.Record {
	retried := full()
	retried.Why, retried.Tries, retried.Queued, retried.Spilled = roost.WhyRetry, 3, 1_500_000, true
	retried.Wait = 730_000_000
	refused := &roost.Record{Start: start, Proto: "HTTP/1.1", Status: 400, Reason: "head_invalid",
		Cause: `the request line holds "\" `, Client: netip.MustParseAddr("::ffff:192.0.2.1"), Nanos: 42_000}
	failed := full()
	failed.Status, failed.Reason, failed.Cause, failed.Fault = 502, "node_unreachable", "10.0.0.7:8080: connection refused",
		roost.FaultRefused
	failed.NodeNanos, failed.Panic, failed.Why = 0, true, roost.WhyPanic
	upgraded := full()
	upgraded.Status, upgraded.Upgraded, upgraded.Aborted, upgraded.Fault = 101, true, true, roost.FaultClientGone
	hostile := full()
	hostile.Key = []byte("a\"b\\c\xff\x00\x1b[2J\u009b")
	hostile.Host, hostile.Target = `x","status":200,"y":"`, "/\r\n{\"ts\":0}/\u2028é"
	hostile.Client = netip.MustParseAddr(`fe80::1%","status":"200`)
	keyless := full()
	keyless.Key, keyless.Why = nil, roost.WhyBalance
	empty := full()
	empty.Key = []byte{}
	long := full()
	long.Key = bytes.Repeat([]byte("0123456789"), 100)
	return []*roost.Record{full(), retried, refused, failed, upgraded, hostile, keyless, empty, long, {}}
}

func TestLinesAreAsInTheGoldenFile(t *testing.T) {
	var got []byte
	for _, r := range records() {
		got = appendLine(got, r, "web")
	}
	got = appendDropped(got, time.Unix(0, start), 17)
	const golden = "testdata/lines.golden"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("lines differ from %s; see the diff after -update:\n%s", golden, got)
	}
	for line := range bytes.Lines(got) {
		if err := json.Unmarshal(line, new(map[string]any)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestNoClientCanForgeAField(t *testing.T) {
	hostile := records()[5]
	var got struct {
		Key, Host, Target, Client string
		Status                    int
	}
	if err := json.Unmarshal(appendLine(nil, hostile, "web"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Status != 200 || got.Host != hostile.Host || got.Target != hostile.Target || got.Client != "fe80::1" ||
		got.Key != "a\"b\\c\ufffd\x00\x1b[2J\u009b" {
		t.Errorf("read back as %+v", got)
	}
}

func TestTheLongestLineKeepsToItsBound(t *testing.T) {
	bad := strings.Repeat("\x00", 1<<16)
	r := &roost.Record{
		Start: math.MaxInt64, Route: &roost.Route{Name: bad}, Pool: roost.PoolID(bad), Key: []byte(bad), Node: roost.NodeID(bad),
		Why: roost.WhySuccessor, Tries: math.MaxUint8, Proto: bad, Method: bad, Host: bad, Target: bad, Status: math.MaxUint16,
		Reason: bad, Cause: bad, Fault: roost.FaultClientFrames, Client: netip.MustParseAddr(strings.Repeat("ffff:", 7) + "ffff"),
		BytesIn: math.MinInt64, BytesOut: math.MinInt64, Nanos: math.MaxInt64, NodeNanos: math.MaxInt64, Queued: math.MaxInt64, Wait: math.MaxInt64,
		Spilled: true, Panic: true, Upgraded: true, Aborted: true,
	}
	line := appendLine(nil, r, bad)
	if !json.Valid(line) {
		t.Fatalf("not JSON: %s", line)
	}
	// A cut stops up to five bytes before its limit, where an escape does not fit any more.
	if slack := 5 * 12; len(line)+slack > maxLine {
		t.Errorf("%d bytes, over %d", len(line), maxLine)
	}
	t.Logf("%d of %d bytes", len(line), maxLine)
}
