package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roost"
	"roost/internal/api"
	"roost/internal/client"
	"roost/internal/config"
)

func nodesCommand() *cobra.Command {
	var o online
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "Show nodes; add, remove, drain and weigh them",
		Long: "Nodes shows all nodes, or those of --pool. Its verbs change them while the balancer runs; what they change lasts over\n" +
			"restarts, beside what the configuration says, and answers when it is in force.",
		Example: "  roost nodes\n" +
			"  roost nodes add d=10.0.0.14:8080*2 --wait\n" +
			"  roost nodes drain d --wait && roost nodes rm d",
		Args: verbs,
	}
	o.register(cmd.PersistentFlags())
	o.registerPool(cmd, cmd.PersistentFlags())
	cmd.RunE = o.run(o.listNodes)
	ls := &cobra.Command{Use: "ls", Short: "Show nodes", Args: arguments(0, 0), RunE: o.run(o.listNodes)}
	cmd.AddCommand(ls, addNode(&o), removeNode(&o), hold(&o, "drain"), hold(&o, "down"), undrain(&o), weigh(&o))
	return cmd
}

func (o *online) listNodes(cmd *cobra.Command, c *client.Client, _ []string) error {
	var ps []roost.PoolStatus
	if o.pool == "" {
		all, err := c.Pools(cmd.Context())
		if err != nil {
			return err
		}
		ps = all
	} else {
		p, err := c.Pool(cmd.Context(), roost.PoolID(o.pool))
		if err != nil {
			return err
		}
		ps = append(ps, *p)
	}
	nodes := poolNodes(ps)
	if o.output == "json" {
		return asJSON(cmd.OutOrStdout(), nodes)
	}
	if len(nodes) == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "there are no nodes; 'roost nodes add' lists one")
		return nil
	}
	return showNodes(cmd.OutOrStdout(), nodes)
}

func poolNodes(ps []roost.PoolStatus) []api.PoolNode {
	nodes := []api.PoolNode{}
	for i := range ps {
		for _, n := range ps[i].Nodes {
			nodes = append(nodes, api.PoolNode{Pool: ps[i].ID, NodeStatus: n})
		}
	}
	return nodes
}

// showNodes leaves out what says nothing: the pool when it is one, addresses when nodes have no other names.
func showNodes(w io.Writer, nodes []api.PoolNode) error {
	pools, named := false, false
	for i := range nodes {
		pools = pools || nodes[i].Pool != nodes[0].Pool
		named = named || string(nodes[i].ID) != nodes[i].Address
	}
	head := []string{"NODE", "STATE", "WEIGHT", "SLOTS", "IN FLIGHT", "CONNS", "FROM"}
	add := func(row []string, pool, address string) []string {
		if named {
			row = append(row[:1:1], append([]string{address}, row[1:]...)...)
		}
		if pools {
			row = append([]string{pool}, row...)
		}
		return row
	}
	var rows [][]string
	for i := range nodes {
		n := &nodes[i]
		row := []string{string(n.ID), state(&n.NodeStatus), weight(n.Weight), thousands(n.Slots), thousands(n.InFlight),
			thousands(n.Connections), strings.Join(n.Sources, ",")}
		rows = append(rows, add(row, string(n.Pool), n.Address))
	}
	return table(w, add(head, "POOL", "ADDRESS"), rows)
}

// state is verdict and duty in a word or two.
func state(n *roost.NodeStatus) string {
	if n.Duty == roost.Up.String() {
		return n.Verdict
	}
	return n.Verdict + ", " + n.Duty
}

func addNode(o *online) *cobra.Command {
	var n roost.Node
	var w waiting
	cmd := &cobra.Command{
		Use:   "add [NAME=]ADDRESS[*WEIGHT]",
		Short: "List a node in a pool",
		Long: "Add lists a node in a pool: it gets its share of keys at once. Its name, else its address, decides which keys those are.\n" +
			"With --wait it ends when health has found the node well; a pool without probes finds that by its traffic.",
		Example:           "  roost nodes add 10.0.0.14:8080\n  roost nodes add d=10.0.0.14:8080*2 --zone eu-1 --wait",
		Args:              arguments(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	zone := cmd.Flags().String("zone", "", "where the node stands")
	w.register(cmd.Flags(), "the node is well")
	cmd.PreRunE = func(cmd *cobra.Command, args []string) (err error) {
		if n, err = config.Node(args[0]); err != nil {
			return usage("%w", err)
		}
		return w.check(cmd)
	}
	cmd.RunE = o.inPool(func(cmd *cobra.Command, c *client.Client, pool roost.PoolID, _ []string) error {
		wire := api.Node{Address: n.Addr, Weight: float64(n.Weight) / roost.WeightOne, Zone: *zone}
		if string(n.ID) != n.Addr {
			wire.Name = string(n.ID)
		}
		done, err := c.AddNode(cmd.Context(), pool, wire)
		if err := o.changed(cmd, done, err, "%s is listed in %s", n.ID, pool); err != nil {
			return err
		}
		return w.wait(cmd, c, pool, n.ID, untilWell{})
	})
	return cmd
}

func removeNode(o *online) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm NODE",
		Short: "Take a node back that was added",
		Long: "Rm takes a node back that the API added: its keys move to their next homes at once, and what is in flight there\n" +
			"finishes. Nodes that the configuration lists go by editing that; drain keeps them out meanwhile.",
		Example:           "  roost nodes drain d --wait && roost nodes rm d",
		Args:              arguments(1, 1),
		ValidArgsFunction: o.completeNodes(0, 1),
	}
	cmd.RunE = o.inPool(func(cmd *cobra.Command, c *client.Client, pool roost.PoolID, args []string) error {
		done, err := c.RemoveNode(cmd.Context(), pool, roost.NodeID(args[0]))
		return o.changed(cmd, done, err, "%s is no longer listed in %s", args[0], pool)
	})
	return cmd
}

// hold makes the commands drain and down, which differ in what becomes of what is open.
func hold(o *online, verb string) *cobra.Command {
	var h api.Hold
	var deadline time.Duration
	var w waiting
	cmd := &cobra.Command{
		Use:               verb + " NODE",
		Args:              arguments(1, 1),
		ValidArgsFunction: o.completeNodes(0, 1),
	}
	if verb == "drain" {
		cmd.Short = "Give a node nothing new, and let it finish what it has"
		cmd.Long = "Drain gives a node nothing new: its keys move to their next homes, requests in flight and open connections stay until\n" +
			"they end, or until --deadline. With --wait it ends when nothing is open there any more."
		cmd.Example = "  roost nodes drain b --wait\n  roost nodes drain b --deadline 10m --wait --timeout 15m"
		cmd.Flags().DurationVar(&deadline, "deadline", 0, "end what is still open there after this time (default: never)")
	} else {
		cmd.Short = "Give a node nothing, and end what is open there"
		cmd.Long = "Down gives a node nothing new and ends its upgraded connections, such as WebSockets, within a second; requests in flight\n" +
			"finish. With --wait it ends when nothing is open there any more."
		cmd.Example = "  roost nodes down b"
	}
	cmd.Flags().BoolVar(&h.Force, "force", false, "also the last open node of its pool")
	w.register(cmd.Flags(), "nothing is open there any more")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("deadline") {
			if deadline <= 0 {
				return usage("--deadline: %v is not a time to wait; write for example 10m", deadline)
			}
			h.Deadline = deadline.String()
		}
		return w.check(cmd)
	}
	cmd.RunE = o.inPool(func(cmd *cobra.Command, c *client.Client, pool roost.PoolID, args []string) error {
		node, send, word := roost.NodeID(args[0]), c.Drain, "draining"
		if verb == "down" {
			send, word = c.Down, "down"
		}
		done, err := send(cmd.Context(), pool, node, h)
		if err := o.changed(cmd, done, err, "%s of %s is %s", node, pool, word); err != nil {
			return err
		}
		return w.wait(cmd, c, pool, node, untilIdle{duty: word})
	})
	return cmd
}

func undrain(o *online) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "undrain NODE",
		Short:             "Take a drain or down back",
		Args:              arguments(1, 1),
		ValidArgsFunction: o.completeNodes(0, 1),
	}
	cmd.RunE = o.inPool(func(cmd *cobra.Command, c *client.Client, pool roost.PoolID, args []string) error {
		done, err := c.Undrain(cmd.Context(), pool, roost.NodeID(args[0]))
		return o.changed(cmd, done, err, "%s of %s is held no longer", args[0], pool)
	})
	return cmd
}

func weigh(o *online) *cobra.Command {
	var set *float64
	cmd := &cobra.Command{
		Use:   "weight NODE WEIGHT|default",
		Short: "Give a node another share of the keys",
		Long: "Weight sets a node's share beside the others, in place of what its source says; 1 is an ordinary node. Only the keys\n" +
			"that must move do. default takes it back.",
		Example:           "  roost nodes weight b 0.5\n  roost nodes weight b default",
		Args:              arguments(2, 2),
		ValidArgsFunction: o.completeNodes(0, 1),
	}
	cmd.PreRunE = func(_ *cobra.Command, args []string) (err error) {
		set, err = readWeight(args[1])
		return err
	}
	cmd.RunE = o.inPool(func(cmd *cobra.Command, c *client.Client, pool roost.PoolID, args []string) error {
		done, err := c.SetWeight(cmd.Context(), pool, roost.NodeID(args[0]), set)
		if err != nil {
			return err
		}
		if set == nil {
			return o.changed(cmd, done, err, "%s of %s has the weight that its source says", args[0], pool)
		}
		return o.changed(cmd, done, err, "%s of %s has weight %s", args[0], pool, weight(*set))
	})
	return cmd
}

// readWeight reads a weight, or nil for the default.
func readWeight(text string) (*float64, error) {
	if text == "default" {
		return nil, nil
	}
	w, err := strconv.ParseFloat(text, 64)
	if err != nil || !(w >= 1.0/roost.WeightOne && w <= roost.MaxWeight/roost.WeightOne) { // so that NaN is none either
		return nil, usage("%q is not a weight, which is a number from 0.001 to 1000, or default", text)
	}
	return &w, nil
}

// changed prints what a change did, unless err says why it was not made.
func (o *online) changed(cmd *cobra.Command, done *api.Changed, err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	if o.output == "json" {
		return asJSON(cmd.OutOrStdout(), done)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s (revision %d)\n", clean(fmt.Sprintf(format, args...)), done.Revision)
	return err
}
