package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestHelpsAreTheSameAsBefore(t *testing.T) {
	var asked []string
	var ask func(cmd *cobra.Command)
	ask = func(cmd *cobra.Command) {
		asked = append(asked, cmd.CommandPath())
		for _, sub := range cmd.Commands() {
			ask(sub)
		}
	}
	root := program()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd("a") // it is made when there are arguments
	ask(root)
	var names []string
	for _, path := range asked {
		words := strings.Fields(path)[1:]
		got := call(t.Context(), append(words, "--help")...)
		if got.code != exitOK || got.err != "" {
			t.Errorf("%s: %s", path, got)
		}
		name := strings.Join(append([]string{"roost"}, words...), "-") + ".txt"
		names = append(names, name)
		golden(t, "../help/"+name, got.out)
	}
	files, err := os.ReadDir(filepath.Join("testdata", "help"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !slices.Contains(names, f.Name()) {
			t.Errorf("%s is of no command; remove it", f.Name())
		}
	}
}

func TestEveryCommandSaysWhatItIsForInALine(t *testing.T) {
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.HasParent() && (cmd.Short == "" || len(cmd.Short) > 80 || strings.HasSuffix(cmd.Short, ".")) {
			t.Errorf("%s: %q", cmd.CommandPath(), cmd.Short)
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len(line) > 121 {
				t.Errorf("%s: the line is %d long: %s", cmd.CommandPath(), len(line), line)
			}
		}
		for _, sub := range cmd.Commands() {
			if cmd.HasParent() || sub.GroupID != "" {
				look(sub)
				continue
			}
			t.Errorf("%s is in no group", sub.CommandPath())
		}
	}
	look(program())
}

func TestCompletionIsOfferedToEveryShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		got := call(t.Context(), "completion", shell)
		if got.code != exitOK || len(got.out) < 1000 || !strings.Contains(got.out, "__complete") {
			t.Errorf("%s: exit %d, %d bytes: %s", shell, got.code, len(got.out), got.err)
		}
	}
}

func TestCompletionAsksTheBalancerAndIsSilentWithout(t *testing.T) {
	rec, _ := waits(1)
	s := healthy()
	rec["GET /pools/fn/pins"] = []any{map[string]any{"key": "billing/report"}, map[string]any{"key": "two\nlines"}}
	rec["GET /status"] = s
	socket := rec.serve(t)
	for args, want := range map[string]string{
		"nodes drain":              "a\twell\nb\twell\nc\twell\n:4\n",
		"nodes rm --pool fn":       "a\twell\nb\twell\nc\twell\n:4\n",
		"nodes rm --pool other":    ":4\n",
		"nodes drain a":            ":4\n",
		"nodes weight a":           ":4\n",
		"keys pin k":               "a\twell\nb\twell\nc\twell\n:4\n",
		"keys pin":                 ":4\n",
		"keys unpin":               "billing/report\n:4\n",
		"pools show":               "fn\n:4\n",
		"pools show fn":            ":4\n",
		"table --pool":             "fn\n:4\n",
		"nodes add":                ":4\n",
		"keys where":               ":4\n",
		"nodes drain --output bad": "a\twell\nb\twell\nc\twell\n:4\n",
	} {
		words := slices.Concat([]string{"__complete"}, strings.Fields(args)[:1], []string{"--socket", socket}, strings.Fields(args)[1:], []string{""})
		if got := call(t.Context(), words...); got.out != want {
			t.Errorf("%s: %q, want %q", args, got.out, want)
		}
		words[3] = filepath.Join(t.TempDir(), "absent")
		if got := call(t.Context(), words...); got.code != exitOK || got.out != ":4\n" || strings.Contains(got.err, "no balancer") {
			t.Errorf("%s without a balancer: %s", args, got)
		}
	}
}
