package carry

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func TestCodesNamesEveryCodeThatAReplyIsWrittenWith(t *testing.T) {
	codes := Codes()
	found := 0
	for _, dir := range []string{".", "../std", "../reactor"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", dir, err)
		}
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				lit, ok := n.(*ast.CompositeLit)
				if !ok || len(lit.Elts) != 3 || !isReply(lit.Type) {
					return true
				}
				if code, ok := lit.Elts[1].(*ast.BasicLit); ok {
					s, _ := strconv.Unquote(code.Value)
					found++
					if s != "" && !slices.Contains(codes, s) {
						t.Errorf("%s: code %q is not among Codes", name, s)
					}
				}
				return true
			})
		}
	}
	if found < 15 {
		t.Errorf("only %d replies were found; does this test still look at the right thing?", found)
	}
}

func isReply(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "Reply"
	case *ast.SelectorExpr:
		return e.Sel.Name == "Reply"
	}
	return false
}
