package std

import "roost"

// bulk moves bodies within the kernel where that can be done.
func (k *work) bulk(*roost.PoolSettings) (roost.Fault, error) { return roost.NoFault, nil }
