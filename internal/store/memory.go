package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"sync"

	"roost"
)

// memory keeps records as the other stores do, so that it refuses what they refuse.
type memory struct {
	id roost.StoreID

	mu     sync.Mutex // guards all below
	closed bool
	rev    uint64
	edits  map[Key]string
	tables map[roost.PoolID][]byte
}

const memoryName = "memory store"

// NewMemory makes a store that ends with the process.
func NewMemory() Store {
	m := &memory{edits: map[Key]string{}, tables: map[roost.PoolID][]byte{}}
	rand.Read(m.id[:])
	return m
}

func (m *memory) ID() roost.StoreID { return m.id }
func (m *memory) Kind() string      { return "memory" }
func (m *memory) Path() string      { return "" }

func (m *memory) Load(ctx context.Context) (e *roost.Edits, err error) {
	err = m.do(ctx, func() (err error) {
		var records []Record
		for k, v := range m.edits {
			records = append(records, Record{k, v})
		}
		e, err = Decode(memoryName, m.rev, records)
		return err
	})
	return e, err
}

func (m *memory) Save(ctx context.Context, prev, next *roost.Edits) error {
	d, err := Diff(prev, next)
	if err != nil {
		return err
	}
	return m.do(ctx, func() error {
		if m.rev != d.From {
			return d.Moved(memoryName, m.rev)
		}
		for _, k := range d.Gone {
			delete(m.edits, k)
		}
		for _, r := range d.New {
			m.edits[r.Key] = r.Value
		}
		m.rev = d.To
		return nil
	})
}

func (m *memory) Tables(ctx context.Context) (tables map[roost.PoolID][]byte, err error) {
	err = m.do(ctx, func() error {
		tables = maps.Clone(m.tables)
		return nil
	})
	return tables, err
}

func (m *memory) SaveTable(ctx context.Context, pool roost.PoolID, encoded []byte) error {
	return m.do(ctx, func() error {
		m.tables[pool] = bytes.Clone(encoded)
		return nil
	})
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memory) do(ctx context.Context, f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", memoryName, err)
	}
	if m.closed {
		return &Error{Unavailable, memoryName, errors.New("it is closed")}
	}
	return f()
}
