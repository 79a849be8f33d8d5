// Package fnlb is fnlb's own interface: its flags, its management API under /1/lb/ byte for byte, its dashboard, and the
// table of nodes that it shares with other balancers. What carries traffic behind it is Roost; fnlb's placement, its
// health checks that ignore the status and its lack of retries are not kept.
//
// Guarantee: what fnlb's users and scripts send and read works as it did (fnproject/lb at 1fc19e9).
//
// Trap: that API asks for no token, and by default it shares the traffic's port: whoever may call a function may add a
// node. Give -mgmt-listen an address of its own.
package fnlb
