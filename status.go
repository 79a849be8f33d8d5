package roost

import "time"

// Status is what a balancer says of itself, for people and scripts. Field names are stable: they are the JSON API.
type Status struct {
	Version   string           `json:"version"`
	Cluster   string           `json:"cluster"`
	Started   time.Time        `json:"started"`
	Ready     bool             `json:"ready"`
	Draining  bool             `json:"draining"`
	Config    string           `json:"config"` // short digest of the configuration
	Snapshot  uint64           `json:"snapshot"`
	Listeners []ListenerStatus `json:"listeners"`
	Pools     []PoolStatus     `json:"pools"`
}

// ListenerStatus is one listener of a Status.
type ListenerStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	TLS     bool   `json:"tls"`

	Certificates []CertStatus `json:"certificates,omitempty"` // the first is the default
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
	Panic    bool         `json:"panic"` // every node is dead: requests are tried anyway
	InFlight int64        `json:"in_flight"`
	Waiting  int64        `json:"waiting"`
	Spills   uint64       `json:"spills"`
	Retries  uint64       `json:"retries"`
	Panics   uint64       `json:"panics"`
	Nodes    []NodeStatus `json:"nodes"`
}

// NodeStatus is one node of a PoolStatus.
type NodeStatus struct {
	ID          NodeID    `json:"id"`
	Address     string    `json:"address"`
	Zone        string    `json:"zone,omitempty"`
	Duty        string    `json:"duty"`
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
