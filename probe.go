package roost

// Target is a node to probe, and how.
type Target struct {
	Pool     PoolID
	Node     NodeID
	Addr     string
	Settings HealthSettings
}

// ProbeResult is what one probe found.
type ProbeResult struct {
	Pool   PoolID
	Node   NodeID
	Addr   string // that was probed: a result for an address that the node no longer has is dropped
	OK     bool
	Reason string // why not, in words for operators
	At     int64  // Unix nanoseconds
}
