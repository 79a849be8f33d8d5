package std

import "roost"

// Connections is how many client connections a listener has open now, those from before it was retired included.
func (e *Engine) Connections(id roost.ListenerID) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := e.counts[id]; n != nil {
		return n.Load()
	}
	return 0
}
