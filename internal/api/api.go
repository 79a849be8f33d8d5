// Package api is the admin API's words on the wire, version 1: what package admin answers, package client asks, and the
// command line prints. Types only.
//
// Guarantee: names and meanings of fields do not change within a version; fields may be added.
//
// Trap: roost.Status and what it holds are words on the wire too, though they stand in the dictionary.
package api

import (
	"encoding/json"
	"time"

	"roost"
)

// Node is a node to be added.
type Node struct {
	Address string  `json:"address" minLength:"1" example:"10.0.0.1:8080" doc:"host:port, [v6]:port or unix:/path"`
	Name    string  `json:"name,omitempty" doc:"what its keys follow; without one it is its address"`
	Weight  float64 `json:"weight,omitempty" minimum:"0.001" maximum:"1000" doc:"its share beside the others; 1 when left out"`
	Zone    string  `json:"zone,omitempty" doc:"where it stands"`
}

// PoolNode is a node of a list over all pools.
type PoolNode struct {
	Pool roost.PoolID `json:"pool"`
	roost.NodeStatus
}

// Weight sets a node's weight.
type Weight struct {
	Weight *float64 `json:"weight" minimum:"0.001" maximum:"1000" example:"0.5" doc:"null: as its source says"`
}

// Hold drains a node or takes it down.
type Hold struct {
	Deadline string `json:"deadline,omitempty" example:"10m" doc:"how long what is open there may stay, as in 10m; without one, for ever"`
	Force    bool   `json:"force,omitempty" doc:"also the last open node of its pool"`
}

// Pin places a key by hand: by nodes, or by how many homes it has.
type Pin struct {
	Key   string         `json:"key" minLength:"1" example:"acme/billing"`
	Nodes []roost.NodeID `json:"nodes,omitempty" doc:"its homes, best first"`
	Homes uint8          `json:"homes,omitempty" minimum:"1" maximum:"255" doc:"in place of nodes: how many homes along the key's own order"`
	By    string         `json:"by,omitempty" doc:"who made it: file or api"`
}

// Homes sets how many homes a key of a pool has.
type Homes struct {
	Homes *uint8 `json:"homes" minimum:"1" maximum:"255" example:"3" doc:"null: as the configuration says"`
}

// Changed answers a change.
type Changed struct {
	Revision uint64       `json:"revision" doc:"of what was changed through the API"`
	Pool     roost.PoolID `json:"pool"`
	Epoch    string       `json:"epoch" doc:"of the pool's table with the change in it"`
}

// Key says where a key lives now.
type Key struct {
	Pool      roost.PoolID   `json:"pool"`
	Key       string         `json:"key"`
	Hash      string         `json:"hash"`
	Slot      uint32         `json:"slot"`
	Exception string         `json:"exception,omitempty" doc:"why it stands apart from its slot: pin, hot, moved, quarantined"`
	Homes     []roost.NodeID `json:"homes" doc:"best first, with agreed deaths left out"`
	Next      []roost.NodeID `json:"next" doc:"who follows when the homes are full or dead"`
	Epoch     string         `json:"epoch"`
}

// Table is a pool's table in short, or whole.
type Table struct {
	Pool   roost.PoolID     `json:"pool"`
	Epoch  string           `json:"epoch"`
	Digest string           `json:"digest"`
	Slots  int              `json:"slots"`
	Homes  int              `json:"homes"`
	Shares []Share          `json:"shares"`
	Pins   []Pin            `json:"pins"`
	Rows   [][]roost.NodeID `json:"rows,omitempty" doc:"homes by slot, when asked for"`
}

// Share is what a table gives one node.
type Share struct {
	Node   roost.NodeID `json:"node"`
	Weight float64      `json:"weight"`
	Slots  int          `json:"slots" doc:"whose first home it is"`
	Closed bool         `json:"closed,omitempty" doc:"draining or down"`
}

// Config is the configuration in use.
type Config struct {
	Digest string             `json:"digest"`
	Files  []string           `json:"files" doc:"that it was read from"`
	YAML   string             `json:"yaml" doc:"the whole of it, defaults filled in, secrets left out"`
	Reload roost.ReloadStatus `json:"reload" doc:"the last one"`
}

// Reload answers a reload, tried or done.
type Reload struct {
	OK       bool            `json:"ok"`
	Digest   string          `json:"digest" doc:"of the configuration in use after it"`
	Changes  []string        `json:"changes" doc:"what it changed, or would change, a line each"`
	Errors   []roost.Mistake `json:"errors,omitempty" doc:"why nothing changed"`
	Warnings []roost.Mistake `json:"warnings,omitempty"`
}

// Upgrade answers an upgrade.
type Upgrade struct {
	Version string `json:"version" doc:"of the process that serves now"`
	PID     int    `json:"pid"`
	Left    int64  `json:"left" doc:"connections that the process before still serves until they end"`
}

// Request is a request to be explained.
type Request struct {
	Method   string   `json:"method,omitempty"`
	URL      string   `json:"url" minLength:"1" example:"http://app.example.com/r/app/hello" doc:"http://host/path?query, or only /path"`
	Fields   []string `json:"fields,omitempty" doc:"each 'Name: value'"`
	Client   string   `json:"client,omitempty" doc:"the client's address"`
	Listener string   `json:"listener,omitempty" doc:"name; the first when left out"`
}

// Explanation says what would happen to a request, and why.
type Explanation struct {
	Listener   string       `json:"listener"`
	Route      string       `json:"route"`
	Pool       roost.PoolID `json:"pool"`
	Key        string       `json:"key"`
	HasKey     bool         `json:"has_key"`
	KeyProgram string       `json:"key_program,omitempty" doc:"which of the route's ways gave the key"`
	Unverified bool         `json:"unverified,omitempty" doc:"the key is a JWT claim whose signature nobody checked"`
	Slot       uint32       `json:"slot"`
	Slots      int          `json:"slots"`
	Exception  string       `json:"exception,omitempty"`
	Epoch      string       `json:"epoch"`
	Digest     string       `json:"digest"`
	Live       bool         `json:"live" doc:"loads and verdicts are a running balancer's"`
	Homes      int          `json:"homes"`
	Candidates []Candidate  `json:"candidates"`
	Choice     roost.NodeID `json:"choice,omitempty"`
	Why        string       `json:"why"`
	Notes      []string     `json:"notes,omitempty"`
}

// Candidate is one node of an Explanation, in the order in which nodes would be asked.
type Candidate struct {
	Node     roost.NodeID `json:"node"`
	Address  string       `json:"address"`
	Home     bool         `json:"home"`
	Verdict  string       `json:"verdict"`
	Duty     string       `json:"duty"`
	InFlight int64        `json:"in_flight"`
	Limit    int64        `json:"limit" doc:"in flight beyond which the next is asked"`
	Chosen   bool         `json:"chosen"`
}

// Event is a change of state, as operators' log lines tell it.
type Event struct {
	ID      uint64          `json:"id"`
	Time    time.Time       `json:"time"`
	Level   string          `json:"level"`
	Message string          `json:"message"`
	Attrs   json.RawMessage `json:"attrs" doc:"an object"`
}

// Problem is an error (RFC 9457).
type Problem struct {
	Type   string          `json:"type,omitempty"`
	Title  string          `json:"title"`
	Status int             `json:"status"`
	Detail string          `json:"detail"`
	Code   string          `json:"code,omitempty" doc:"stable, for scripts"`
	Errors []roost.Mistake `json:"errors,omitempty" doc:"when a configuration is at fault"`
}
