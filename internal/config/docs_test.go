package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

const referenceDoc = "../../docs/CONFIGURATION.md"

// TestTheReferenceTellsEverySetting compares the generated parts of docs/CONFIGURATION.md with the declarations. What
// the decoder knows is there, and nothing else.
func TestTheReferenceTellsEverySetting(t *testing.T) {
	text, err := os.ReadFile(referenceDoc)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	for part, want := range map[string]string{"settings": settingsDoc(), "codes": codesDoc(t)} {
		open, end := "<!-- "+part+": made by go test ./internal/config -update -->\n", "<!-- end of "+part+" -->"
		before, rest, ok := strings.Cut(doc, open)
		got, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("no place for %s in %s", part, referenceDoc)
		}
		if got != want && !*update {
			t.Errorf("the %s in %s are not those of the decoder; run go test ./internal/config -update", part, referenceDoc)
		}
		doc = before + open + want + end + after
	}
	if *update {
		if err := os.WriteFile(referenceDoc, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEverySettingSaysWhatItMeans(t *testing.T) {
	all := settings()
	if len(all) < 80 {
		t.Fatalf("only %d settings", len(all))
	}
	seen := map[string]bool{}
	for _, s := range all {
		if s.kind == "" || len(s.doc) < 12 || !strings.HasSuffix(s.doc, ".") || seen[s.name] {
			t.Errorf("%s: %q, %q, twice %v", s.name, s.kind, s.doc, seen[s.name])
		}
		seen[s.name] = true
	}
}

// settingsDoc has a table for each block, in the order of declaration.
func settingsDoc() string {
	all := settings()
	var b strings.Builder
	table := func(parent string) {
		b.WriteString("\n| setting | value | default | meaning |\n| --- | --- | --- | --- |\n")
		for _, s := range all {
			name, ok := strings.CutPrefix(s.name, parent)
			if !ok || strings.Contains(strings.TrimSuffix(name, ".NAME"), ".") {
				continue
			}
			def := ""
			switch {
			case s.def != "":
				def = "`" + s.def + "`"
			case s.must:
				def = "must be given"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, s.kind, def, s.doc)
		}
	}
	b.WriteString("\n### The file\n")
	table("")
	for _, s := range all {
		if !s.nested {
			continue
		}
		for _, inner := range []string{s.name + ".", s.name + "[].", s.name + ".NAME.", s.name + ".KEY."} {
			if children(all, inner) {
				fmt.Fprintf(&b, "\n### `%s`\n\n%s\n", strings.TrimSuffix(inner, "."), s.doc)
				table(inner)
				break
			}
		}
	}
	b.WriteByte('\n')
	return b.String()
}

// children reports whether a setting stands directly in a block.
func children(all []setting, parent string) bool {
	for _, s := range all {
		if name, ok := strings.CutPrefix(s.name, parent); ok && !strings.HasPrefix(name, "NAME.") && !strings.HasPrefix(name, "KEY.") {
			return true
		}
	}
	return false
}

// codesDoc takes the codes and their meanings from codes.go.
func codesDoc(t *testing.T) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n| code | meaning |\n| --- | --- |\n")
	ast.Inspect(file, func(n ast.Node) bool {
		if c, ok := n.(*ast.ValueSpec); ok {
			fmt.Fprintf(&b, "| `%s` | %s |\n", strings.Trim(c.Values[0].(*ast.BasicLit).Value, `"`), strings.TrimSpace(c.Comment.Text()))
		}
		return true
	})
	b.WriteByte('\n')
	return b.String()
}
