package roost

import "time"

// Status is what a balancer says of itself, for people and scripts. Field names are stable: they are the JSON API.
type Status struct {
	Version   string           `json:"version"`
	Cluster   string           `json:"cluster"`
	Started   time.Time        `json:"started"`
	Ready     bool             `json:"ready"`
	Draining  bool             `json:"draining"`
	Config    string           `json:"config"`   // short digest of the configuration
	Revision  uint64           `json:"revision"` // of what was changed through the API
	Store     StoreStatus      `json:"store"`
	Reload    ReloadStatus     `json:"reload"` // the last one
	Snapshot  uint64           `json:"snapshot"`
	Listeners []ListenerStatus `json:"listeners"`
	Pools     []PoolStatus     `json:"pools"`
}

// StoreStatus is the store of a Status.
type StoreStatus struct {
	Kind  string `json:"kind"`            // memory, sqlite
	Path  string `json:"path,omitempty"`  // of its file
	Fault string `json:"fault,omitempty"` // why changes cannot be made now
}

// ReloadStatus is the last reload of a Status. At a start it is the start itself.
type ReloadStatus struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"` // start, signal, api, file
	OK     bool      `json:"ok"`
	Errors []Mistake `json:"errors,omitempty"` // why the configuration in use is still the one before
}

// Mistake is one thing that is wrong with a configuration, and where.
type Mistake struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"` // of the setting, as in listeners.web.address
	Code    string `json:"code"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

// ListenerStatus is one listener of a Status.
type ListenerStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	TLS     bool   `json:"tls"`
	Retired bool   `json:"retired,omitempty"` // out of the configuration, with connections still open

	Connections int64 `json:"connections"` // open, from clients

	Certificates []CertStatus `json:"certificates,omitempty"` // the first is the default
}

// LoopStats are what an event loop of the engine reactor tells of itself. Counts are of its whole life.
type LoopStats struct {
	Turns       int64         // batches of events
	LongestTurn time.Duration // since it was asked last: how long the others had to wait at most
	Connections int64         // of clients, now
	Accepted    int64
	Given       int64 // accepted, and given to a loop with fewer
	Passed      int64 // to the engine std
	Resting     int64 // idle connections to nodes, now
	Shaken      int64 // TLS handshakes that were done
	Unshaken    int64 // and those that failed, took too long, or were too many
	Shaking     int64 // under way now, or waiting for their turn
}

// CertStatus is one certificate that a listener serves now.
type CertStatus struct {
	File     string    `json:"file"`
	Names    []string  `json:"names"` // that it is chosen for by SNI
	NotAfter time.Time `json:"not_after"`
}

// PoolStatus is one pool of a Status.
type PoolStatus struct {
	ID       PoolID       `json:"id"`
	Epoch    string       `json:"epoch"`
	Digest   string       `json:"digest"`
	Slots    int          `json:"slots"`
	Homes    int          `json:"homes"`
	Pins     int          `json:"pins"`
	Notes    []string     `json:"notes,omitempty"` // what of the edits and sources could not be used, and why
	Panic    bool         `json:"panic"`           // every node is dead: requests are tried anyway
	InFlight int64        `json:"in_flight"`
	Waiting  int64        `json:"waiting"`
	Spills   uint64       `json:"spills"`
	Retries  uint64       `json:"retries"`
	Panics   uint64       `json:"panics"`
	Nodes    []NodeStatus `json:"nodes"`
}

// Held is the hold that decides a node's duty.
type Held struct {
	Cause    string     `json:"cause"`
	Since    time.Time  `json:"since"`
	Deadline *time.Time `json:"deadline,omitempty"` // when what is still open there is cut
}

// NodeStatus is one node of a PoolStatus.
type NodeStatus struct {
	ID          NodeID    `json:"id"`
	Address     string    `json:"address"`
	Zone        string    `json:"zone,omitempty"`
	Sources     []string  `json:"sources"` // who lists it: file, flag, api, lb_nodes
	Duty        string    `json:"duty"`
	Held        *Held     `json:"held,omitempty"` // why its duty is draining or down
	Verdict     string    `json:"verdict"`
	Reason      string    `json:"reason,omitempty"` // why it is out, or what was last seen
	Since       time.Time `json:"since"`            // of the verdict
	Weight      float64   `json:"weight"`           // as configured, 1 is ordinary
	Effective   float64   `json:"effective"`        // now: 0 takes nothing new
	Slots       int       `json:"slots"`            // whose first home it is
	InFlight    int64     `json:"in_flight"`
	Connections int64     `json:"connections"`
	Pressure    float64   `json:"pressure"` // what it last reported, decayed; 0 to 1
	Requests    uint64    `json:"requests"`
	ConnectFail uint64    `json:"connect_failures"`
	Broken      uint64    `json:"broken"`
	Errors      uint64    `json:"errors"`
}
