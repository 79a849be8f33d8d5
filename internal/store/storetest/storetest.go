// Package storetest is the contract of package store as tests, for every adapter to run.
//
// Guarantee: an adapter that passes behaves as the memory store does, and keeps every promise of store.Store.
//
// Trap: what outlives a process, and each adapter's own failures, the adapters test themselves.
package storetest

import (
	"testing"

	"roost/internal/store"
)

// Run tests the stores that open makes; each is to be new, and is closed by Run.
func Run(t *testing.T, open func(*testing.T) store.Store) {
	s := open(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
