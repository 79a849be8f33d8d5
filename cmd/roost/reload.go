package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"roost"
	"roost/internal/api"
	"roost/internal/client"
	"roost/internal/config"
)

func configCommand() *cobra.Command {
	var o online
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the configuration in use",
		Long: "Config shows the whole configuration that is in use, as a file with all defaults filled in and secrets left out, below a\n" +
			"comment that says where it came from. 'roost reload' reads it again.",
		Example: "  roost config show\n  roost config show > effective.yaml",
		Args:    verbs,
	}
	o.register(cmd.PersistentFlags())
	show := func(cmd *cobra.Command, c *client.Client, _ []string) error {
		conf, err := c.Config(cmd.Context())
		if err != nil {
			return err
		}
		if o.output == "json" {
			return asJSON(cmd.OutOrStdout(), conf)
		}
		return showConfig(cmd.OutOrStdout(), conf)
	}
	cmd.RunE = o.run(show)
	cmd.AddCommand(&cobra.Command{Use: "show", Short: "Show the configuration in use", Args: arguments(0, 0), RunE: o.run(show)})
	return cmd
}

func showConfig(w io.Writer, conf *api.Config) error {
	var b strings.Builder
	from := "from flags"
	if len(conf.Files) > 0 {
		from = "from " + strings.Join(conf.Files, ", ")
	}
	fmt.Fprintf(&b, "# configuration %s, %s\n", conf.Digest, clean(from))
	if conf.Reload.OK {
		fmt.Fprintf(&b, "# read at %s, by %s\n", conf.Reload.At.UTC().Format("2006-01-02T15:04:05Z"), conf.Reload.By)
	} else {
		fmt.Fprintf(&b, "# the reload by %s at %s failed, and this is what was in use before:\n", conf.Reload.By, conf.Reload.At.UTC().Format("2006-01-02T15:04:05Z"))
		for i := range conf.Reload.Errors {
			fmt.Fprintf(&b, "#   %s\n", clean(mistake(&conf.Reload.Errors[i])))
		}
	}
	b.WriteString(conf.YAML)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func reloadCommand() *cobra.Command {
	var o online
	var dry bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Read the configuration again, without dropping a connection",
		Long: "Reload makes the balancer read its configuration again and says what changed. With a mistake in it nothing changes: all\n" +
			"mistakes are shown as 'roost check' shows them, and the exit code is 1. It answers when the change is in force.",
		Example: "  roost reload --dry-run\n  roost reload",
		Args:    arguments(0, 0),
	}
	o.register(cmd.Flags())
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would change")
	cmd.RunE = o.run(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		r, err := c.Reload(cmd.Context(), dry)
		var p *client.Problem
		if errors.As(err, &p) && len(p.Problem.Errors) > 0 {
			r, err = &api.Reload{Errors: p.Problem.Errors}, nil
		}
		if err != nil {
			return err
		}
		if o.output == "json" {
			err = asJSON(cmd.OutOrStdout(), r)
		} else {
			err = showReload(cmd.OutOrStdout(), cmd.ErrOrStderr(), r, dry)
		}
		if err == nil && !r.OK {
			return &failure{code: exitFail}
		}
		return err
	})
	return cmd
}

// showReload writes changes to out, and what is wrong to notes.
func showReload(out, notes io.Writer, r *api.Reload, dry bool) error {
	if err := diagnostics(r.Errors, r.Warnings).Text(notes); err != nil || !r.OK {
		return err
	}
	var b strings.Builder
	switch {
	case len(r.Changes) == 0:
		fmt.Fprintf(&b, "nothing changes: the configuration is %s already\n", r.Digest)
	case dry:
		fmt.Fprintf(&b, "%s would be made:\n", count(len(r.Changes), "change"))
	default:
		fmt.Fprintf(&b, "reloaded, configuration %s: %s\n", r.Digest, count(len(r.Changes), "change"))
	}
	for _, c := range r.Changes {
		fmt.Fprintf(&b, "  %s\n", clean(c))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// diagnostics are mistakes as 'roost check' has them. Their lines are in the balancer's files, not here.
func diagnostics(errs, warnings []roost.Mistake) config.Diagnostics {
	var ds config.Diagnostics
	for i, ms := range [][]roost.Mistake{errs, warnings} {
		for _, m := range ms {
			ds = append(ds, config.Diagnostic{Severity: []config.Severity{config.Error, config.Warning}[i], Code: config.Code(m.Code),
				File: m.File, Line: m.Line, Col: m.Column, Path: m.Path, Message: m.Message, Fix: m.Fix})
		}
	}
	return ds
}
