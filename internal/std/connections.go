package std

import "roost"

// Connections is how many client connections a listener has open now.
func (e *Engine) Connections(id roost.ListenerID) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := int64(0)
	for f := range e.fronts {
		if f.id == id {
			n += f.conns.Load()
		}
	}
	return n
}
