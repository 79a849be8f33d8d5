package carry

import (
	"strconv"
	"strings"
	"time"

	"roost"
	"roost/internal/h1"
)

// Nodes report their load on responses in two ways: ORCA's endpoint-load-metrics (Open Request Cost Aggregation, in
// Envoy's text forms) and fn's XXX-FXLB-WAIT, the time a call waited for a free container. Both are for us alone.
//
// Both become a pressure. The ends of each range: below its beginning a node has room and order should decide, at its
// end it is as full as it can say; nine tenths leave it something, because only its limit takes a node out.
const (
	utilFrom, utilTo = 0.8, 1.0
	waitFrom, waitTo = 500 * time.Millisecond, 2 * time.Second
	maxPressure      = 0.9
)

// reports are the fields that are read.
const reports h1.FieldSet = 1<<h1.EndpointLoadMetrics | 1<<h1.FXLBWait

// reportsLoad tells the fields that hold a report, the binary form included: it is not read, and goes no further.
func reportsLoad(name string, id h1.FieldID) bool {
	const binary = "endpoint-load-metrics-bin"
	return reports.Has(id) || len(name) == len(binary) && equalFold(name, binary)
}

// report is what a node said of its load on one response.
type report struct {
	load roost.Load
	wait time.Duration
}

// take adds what a field says. What cannot be read says nothing; of two the worse counts.
func (r *report) take(id h1.FieldID, value string) {
	var load roost.Load
	switch id {
	case h1.FXLBWait:
		d, ok := waitOf(value)
		if !ok {
			return
		}
		r.wait = max(r.wait, d)
		load = pressure(float64(d-waitFrom) / float64(waitTo-waitFrom))
	case h1.EndpointLoadMetrics:
		load = loadOfORCA(value)
	}
	r.load = roost.Load{Has: r.load.Has || load.Has, Pressure: max(r.load.Pressure, load.Pressure)}
}

// waitOf reads a duration as Go writes it ("1.5s", "730ms").
func waitOf(value string) (d time.Duration, ok bool) {
	if len(value) > 32 {
		return 0, false // longer than any that Go writes
	}
	d, err := time.ParseDuration(value)
	return d, err == nil && d >= 0
}

// loadOfORCA reads "TEXT cpu_utilization=0.3,mem_utilization=0.8", the same without "TEXT", or "JSON {...}". An
// application's own utilisation, when it reports one, stands for the CPU's.
func loadOfORCA(value string) roost.Load {
	json := false
	if v, ok := strings.CutPrefix(value, "JSON "); ok {
		value, json = strings.Trim(trim(v), "{}"), true
	} else if v, ok := strings.CutPrefix(value, "TEXT "); ok {
		value = v
	} else if strings.HasPrefix(value, "BIN ") {
		return roost.Load{}
	}
	var cpu, mem, app float64
	found := false
	for value != "" {
		var pair string
		pair, value = cutList(value)
		name, number, ok := cutPair(pair, json)
		if !ok {
			continue
		}
		var to *float64
		switch name {
		case "cpu_utilization":
			to = &cpu
		case "mem_utilization":
			to = &mem
		case "application_utilization":
			to = &app
		default:
			continue
		}
		if f, err := strconv.ParseFloat(number, 64); err == nil && f >= 0 { // false for NaN
			*to, found = f, true
		}
	}
	if !found {
		return roost.Load{}
	}
	if app > 0 {
		cpu = app
	}
	return pressure((max(cpu, mem) - utilFrom) / (utilTo - utilFrom))
}

// cutPair takes name=value, or "name": value, apart. Nested objects of the JSON form (named metrics) fall into pairs
// whose names mean nothing here.
func cutPair(pair string, json bool) (name, value string, ok bool) {
	if !json {
		name, value, ok = strings.Cut(pair, "=")
		return trim(name), trim(value), ok
	}
	name, value, ok = strings.Cut(pair, ":")
	name = trim(name)
	if !ok || len(name) < 2 || name[0] != '"' || name[len(name)-1] != '"' {
		return "", "", false
	}
	return name[1 : len(name)-1], trim(value), true
}

// pressure scales a part of a range, 0 to 1 or beyond either end, to what a node can report.
func pressure(part float64) roost.Load {
	return roost.Load{Has: true, Pressure: uint16(min(max(part, 0), 1) * maxPressure * 65535)}
}
