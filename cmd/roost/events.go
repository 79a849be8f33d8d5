package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"roost/internal/api"
	"roost/internal/client"
)

func eventsCommand() *cobra.Command {
	var o online
	var follow bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened, and what happens",
		Long: "Events shows the latest changes of state that the balancer keeps: a line each, as its log has them. With -f it goes on\n" +
			"with those that come, also over restarts, until Ctrl-C. As JSON each is a line of its own.",
		Example: "  roost events -f\n  roost events -o json | jq 'select(.level == \"error\")'",
		Args:    arguments(0, 0),
	}
	o.register(cmd.Flags())
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes")
	cmd.RunE = o.run(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		err := c.Events(cmd.Context(), 0, follow, func(e api.Event) error {
			if o.output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(e)
			}
			return showEvent(cmd.OutOrStdout(), &e)
		})
		if follow && errors.Is(err, context.Canceled) {
			return nil // the way to end it
		}
		return err
	})
	return cmd
}

// showEvent writes an event as the log does.
func showEvent(w io.Writer, e *api.Event) error {
	_, err := fmt.Fprintf(w, "%s %-5s %s%s\n", e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), strings.ToUpper(clean(e.Level)), clean(e.Message), attrs(e.Attrs))
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// attrs writes the members of an object as key=value, in their order; what is no object, as it is.
func attrs(object json.RawMessage) string {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	var b strings.Builder
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return ""
		}
		text := string(value)
		var s string
		if json.Unmarshal(value, &s) == nil && s != "" && !strings.ContainsAny(s, " =\"") {
			text = s
		}
		fmt.Fprintf(&b, " %s=%s", clean(fmt.Sprint(name)), clean(text))
	}
	return b.String()
}
