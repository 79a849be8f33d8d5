package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"roost/internal/config"
)

func checkCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Say everything that is wrong with a configuration",
		Long: "Check reads a configuration as serve would, certificates included, and shows every error and warning with file, line\n" +
			"and column. Exit code 0: it can be served; 1: it has errors; 2: it cannot be read, or the command was called wrongly.",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if output != "text" && output != "json" {
			return usage("-o: %q is not known; write text or json", output)
		}
		_, diags, err := config.Load(args[0])
		if err != nil {
			return &failure{code: exitUsage, err: err}
		}
		if output == "json" {
			if err := diags.JSON(cmd.OutOrStdout()); err != nil {
				return &failure{code: exitFail, err: fmt.Errorf("write: %w", err)}
			}
		} else {
			diags.Text(cmd.ErrOrStderr())
		}
		if diags.Failed() {
			return &failure{code: exitFail}
		}
		if output == "text" {
			fmt.Fprintln(cmd.OutOrStdout(), args[0]+": ok")
		}
		return nil
	}
	return cmd
}
