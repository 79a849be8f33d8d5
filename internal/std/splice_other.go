//go:build !linux

package std

import "roost"

// bulk moves bodies within the kernel where that can be done: not here.
func (k *work) bulk(*roost.PoolSettings) (roost.Fault, error) { return roost.NoFault, nil }
