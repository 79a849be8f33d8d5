package access

import (
	"strconv"
	"time"

	"roost"
)

// How much of each string a line holds, in bytes of JSON. Together they keep a line below maxLine, whatever a client
// sends; what is cut ends in "…".
const (
	maxName   = 128  // listener, route, pool, codes: the operator's or our own words
	maxNode   = 256  // a host name has at most 253, and a port
	maxKey    = 256  // keys are identifiers; the routing used all of a longer one
	maxCause  = 512  // a sentence of ours
	maxMethod = 32   // the longest registered one (RFC 9110, 16.1) has 16
	maxHost   = 256  // as a node
	maxTarget = 2048 // more than any browser's bookmark; longer targets are read in traces, not in logs
	maxProto  = 16   // HTTP/1.1
)

// maxLine bounds one line. A test builds the longest.
const maxLine = 5 << 10

// appendLine appends r as one line of JSON. A field that has nothing to say is left out; the order is fixed.
func appendLine(dst []byte, r *roost.Record, listener string) []byte {
	dst = append(dst, `{"ts":"`...)
	dst = appendTime(dst, r.Start)
	dst = append(dst, '"')
	dst = appendText(dst, `,"listener":`, listener, maxName)
	if r.Route != nil {
		dst = appendText(dst, `,"route":`, r.Route.Name, maxName)
	}
	dst = appendText(dst, `,"pool":`, string(r.Pool), maxName)
	dst = appendText(dst, `,"key":`, r.Key, maxKey)
	dst = appendText(dst, `,"node":`, string(r.Node), maxNode)
	dst = append(dst, `,"why":"`...)
	dst = append(dst, r.Why.String()...)
	dst = append(dst, '"')
	dst = appendInt(dst, `,"tries":`, int64(r.Tries))
	dst = appendInt(dst, `,"status":`, int64(r.Status))
	dst = appendText(dst, `,"reason":`, r.Reason, maxName)
	dst = appendText(dst, `,"cause":`, r.Cause, maxCause)
	if r.Fault != roost.NoFault {
		dst = append(dst, `,"fault":"`...)
		dst = append(dst, r.Fault.String()...)
		dst = append(dst, '"')
	}
	dst = appendText(dst, `,"method":`, r.Method, maxMethod)
	dst = appendText(dst, `,"host":`, r.Host, maxHost)
	dst = appendText(dst, `,"target":`, r.Target, maxTarget)
	dst = appendText(dst, `,"proto":`, r.Proto, maxProto)
	if r.Client.IsValid() {
		dst = append(dst, `,"client":"`...)
		// The zone is this machine's name of an interface, or whatever a forwarding header had there.
		dst = r.Client.Unmap().WithZone("").AppendTo(dst)
		dst = append(dst, '"')
	}
	dst = appendInt(dst, `,"bytes_in":`, r.BytesIn)
	dst = appendInt(dst, `,"bytes_out":`, r.BytesOut)
	dst = appendMillis(dst, `,"dur_ms":`, r.Nanos)
	if r.NodeNanos > 0 {
		dst = appendMillis(dst, `,"node_ms":`, r.NodeNanos)
	}
	if r.Wait > 0 { // inside the node, as it said
		dst = appendMillis(dst, `,"node_wait_ms":`, r.Wait)
	}
	if r.Queued > 0 {
		dst = appendMillis(dst, `,"queued_ms":`, r.Queued)
	}
	dst = appendTrue(dst, `,"spilled":true`, r.Spilled)
	dst = appendTrue(dst, `,"panic":true`, r.Panic)
	dst = appendTrue(dst, `,"upgraded":true`, r.Upgraded)
	dst = appendTrue(dst, `,"aborted":true`, r.Aborted)
	return append(dst, '}', '\n')
}

func appendText[T string | []byte](dst []byte, name string, s T, limit int) []byte {
	if len(s) == 0 {
		return dst
	}
	return appendString(append(dst, name...), s, limit)
}

func appendInt(dst []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(dst, name...), n, 10)
}

// appendMillis appends a duration in milliseconds, to the microsecond. One below zero (the clock is not ours) is zero.
func appendMillis(dst []byte, name string, nanos int64) []byte {
	micros := max(nanos, 0) / int64(time.Microsecond)
	dst = appendInt(dst, name, micros/1000)
	return appendDigits(append(dst, '.'), int(micros%1000), 3)
}

func appendTrue(dst []byte, field string, is bool) []byte {
	if is {
		dst = append(dst, field...)
	}
	return dst
}

// appendDropped appends the line that stands for n others.
func appendDropped(dst []byte, now time.Time, n uint64) []byte {
	dst = appendTime(append(dst, `{"ts":"`...), now.UnixNano())
	dst = strconv.AppendUint(append(dst, `","dropped":`...), n, 10)
	return append(dst, '}', '\n')
}
