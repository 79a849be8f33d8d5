package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"roost"
	"roost/internal/client"
)

// online is how a command finds a running balancer, and in which form it prints what that says.
type online struct {
	socket, url, token, ca string
	output                 string
	pool                   string
}

func (o *online) register(fs *pflag.FlagSet) {
	fs.StringVar(&o.socket, "socket", "", "unix socket of the balancer, or $ROOST_SOCKET (default: looked for where serve puts it)")
	fs.StringVar(&o.url, "admin-url", "", "its admin listener instead, e.g. https://lb.example.com:7070, or $ROOST_ADMIN")
	fs.StringVar(&o.token, "token-file", "", "file with the token that --admin-url asks for, or $ROOST_TOKEN_FILE")
	fs.StringVar(&o.ca, "ca", "", "certificate (PEM) of the authority behind --admin-url, or $ROOST_CA (default: the system's)")
	fs.StringVarP(&o.output, "output", "o", "table", "table or json")
}

// registerPool adds the flag of commands that mean one pool.
func (o *online) registerPool(cmd *cobra.Command, fs *pflag.FlagSet) {
	fs.StringVar(&o.pool, "pool", "", "name of the pool; needed only when there are several")
	cmd.RegisterFlagCompletionFunc("pool", o.completePools)
}

// client is the balancer that flags or environment name; a flag wins over every variable.
func (o *online) client() (*client.Client, error) {
	if o.output != "table" && o.output != "json" {
		return nil, usage("-o: %q is not known; write table or json", o.output)
	}
	if o.socket != "" && o.url != "" {
		return nil, usage("--socket and --admin-url name two balancers; give one of them")
	}
	socket, url := o.socket, o.url
	if socket == "" && url == "" {
		if socket = os.Getenv("ROOST_SOCKET"); socket == "" {
			url = os.Getenv("ROOST_ADMIN")
		}
	}
	c := client.Options{Sockets: []string{socket}, Address: url, Token: cmp.Or(o.token, os.Getenv("ROOST_TOKEN_FILE")),
		CA: cmp.Or(o.ca, os.Getenv("ROOST_CA")), Version: version()}
	if socket == "" {
		c.Sockets = sockets()
	}
	cl, err := client.New(c)
	if err != nil {
		return nil, usage("%w", err)
	}
	return cl, nil
}

// named tells whether flags say which balancer to ask.
func (o *online) named() bool { return o.socket != "" || o.url != "" }

// sockets are the places where serve puts its socket when nobody says where.
func sockets() []string {
	var dirs []string
	if os.Geteuid() != 0 {
		if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
			dirs = append(dirs, filepath.Join(dir, "roost"))
		} else if home := os.Getenv("HOME"); filepath.IsAbs(home) {
			dirs = append(dirs, filepath.Join(home, ".local", "state", "roost"))
		}
	}
	dirs = append(dirs, "/run/roost", "/var/lib/roost")
	for i := range dirs {
		dirs[i] = filepath.Join(dirs[i], "roost.sock")
	}
	return dirs
}

// run makes a command's RunE of what it does with the balancer.
func (o *online) run(f func(*cobra.Command, *client.Client, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := o.client()
		if err != nil {
			return err
		}
		return failed(f(cmd, c, args))
	}
}

// inPool makes a command's RunE of what it does in one pool: the one that --pool names, or the only one there is. What can
// be refused without asking anybody, a command refuses before, in Args and PreRunE.
func (o *online) inPool(f func(*cobra.Command, *client.Client, roost.PoolID, []string) error) func(*cobra.Command, []string) error {
	return o.run(func(cmd *cobra.Command, c *client.Client, args []string) error {
		pool, err := o.one(cmd.Context(), c, o.pool)
		if err != nil {
			return err
		}
		return f(cmd, c, pool, args)
	})
}

// failed gives an error of a balancer, or of asking it, its exit code and what to do about it.
func failed(err error) error {
	var f *failure
	var p *client.Problem
	switch {
	case err == nil, errors.As(err, &f):
		return err
	case errors.Is(err, client.ErrNobody):
		return &failure{exitNobody, fmt.Errorf("%w\nis it running? 'roost serve' starts one; --socket or --admin-url say where it is", err)}
	case errors.Is(err, context.Canceled):
		return &failure{exitFail, errors.New("interrupted before the balancer answered; look with 'roost status' before you ask again")}
	case errors.As(err, &p) && p.Problem.Status == http.StatusUnauthorized:
		return &failure{exitFail, fmt.Errorf("%w; give its file with --token-file", err)}
	}
	return &failure{exitFail, err}
}

// one is the pool that a command means: the one it names, or the only one there is.
func (o *online) one(ctx context.Context, c *client.Client, name string) (roost.PoolID, error) {
	if name != "" {
		return roost.PoolID(name), nil
	}
	ids, err := pools(ctx, c)
	if err != nil {
		return "", err
	}
	switch len(ids) {
	case 1:
		return roost.PoolID(ids[0]), nil
	case 0:
		return "", errors.New("the balancer has no pool; give its configuration one")
	}
	return "", usage("there are %d pools: %s; say which with --pool", len(ids), strings.Join(ids, ", "))
}

func pools(ctx context.Context, c *client.Client) ([]string, error) {
	ps, err := c.Pools(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(ps))
	for i := range ps {
		ids[i] = string(ps[i].ID)
	}
	slices.Sort(ids)
	return ids, nil
}

// arguments demands as many arguments as a command's usage line says.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usage("write it as '%s'; see '%s --help'", cmd.UseLine(), cmd.CommandPath())
		}
		return nil
	}
}

// verbs refuses what is none of a noun's verbs.
func verbs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2 // as cobra has it for the first word
	near := cmd.SuggestionsFor(args[0])
	if len(near) == 0 {
		return usage("'%s' has no verb %q; see '%s --help'", cmd.CommandPath(), args[0], cmd.CommandPath())
	}
	return usage("'%s' has no verb %q; did you mean %s?", cmd.CommandPath(), args[0], strings.Join(near, " or "))
}
