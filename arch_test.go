package roost_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "roost"

// rules is a statement of policy: a package may import, of ours, only what
// stands on its line. Do not change it to fix a build; add a line when a room
// is built.
const rules = `
dict      :                            # the root package: nouns only

# pure: time and randomness are arguments; no goroutine, no I/O
h1        : dict
sniff     : dict
proxyproto :                           # the PROXY protocol's bytes
route     : dict proxyproto
place     : dict
health    : dict
pick      : dict                       # and sync/atomic
carry     : dict h1 sniff proxyproto route pick
pki       : dict                       # what is in certificates and their files
intent    : dict                       # operators' changes and listings folded into pools
api       : dict                       # the admin API's words on the wire: types only

# hands: they touch the world and do not know each other
std       : dict h1 sniff carry pki
reactor   : dict h1 sniff carry proxyproto pki   # Linux: event loops
enginetest : dict route proxyproto pki/pkitest # the contract of both, as tests
differ    :                            # what bytes mean to both sides of a proxy, as tests
listen    : dict watch pki
probe     : dict pki proxyproto
access    : dict                       # the access log
config    : dict route pki
admin     : dict api
client    : dict api                   # asks a running balancer's admin API
store     : dict                       # the port, the memory store, and what is stored as which bytes
store/sqlstore  : dict store
store/storetest : dict store           # the contract, as tests
watch     : dict                       # tells when files change; listen and serve use it
upgrade   : dict                       # starts the new binary and gives it the listeners
systemd   : dict                       # sd_notify
pki/pkitest     : dict                 # authorities and certificates for tests
fnlb      : dict                       # fnlb's own interface: flags, /1/lb/*, its dashboard

# the control loop; it never meets the data path
control   : dict place health intent

# top: they join rooms
explain   : dict route pick api
serve     : *
demo      : dict
cmd/roost : *
bench     : *
packaging/image : dict                 # make image
e2e       : *
`

// pure packages, and what they must not import.
var (
	pure   = []string{"dict", "h1", "sniff", "proxyproto", "route", "place", "health", "pick", "carry", "pki", "intent", "api"}
	banned = []string{"net", "net/http", "os", "os/exec", "database/sql", "log", "log/slog", "math/rand", "math/rand/v2",
		"crypto/rand", "syscall", "unsafe", "runtime", "context", "sync"}
)

type pkg struct {
	name    string // dict, or the path below internal/
	doc     bool
	imports []string
	fset    *token.FileSet
	files   []*ast.File
}

// load parses the tree itself instead of asking "go list": the go command
// caches test results by the files the test opens, and cannot see what a
// child process opens.
func load(t *testing.T) map[string]*pkg {
	t.Helper()
	ps := map[string]*pkg{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); n == "testdata" || n == "vendor" || len(n) > 1 && n[0] == '.' {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		name := short(filepath.ToSlash(filepath.Dir(path)))
		p := ps[name]
		if p == nil {
			p = &pkg{name: name, fset: token.NewFileSet()}
			ps[name] = p
		}
		f, err := parser.ParseFile(p.fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		p.files = append(p.files, f)
		p.doc = p.doc || f.Doc != nil
		for _, imp := range f.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			p.imports = append(p.imports, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

func short(path string) string {
	path = strings.TrimPrefix(path, module+"/")
	if path == "." || path == module {
		return "dict"
	}
	return strings.TrimPrefix(path, "internal/")
}

func TestArchitecture(t *testing.T) {
	may := map[string][]string{}
	for line := range strings.Lines(rules) {
		line, _, _ = strings.Cut(line, "#")
		if name, deps, ok := strings.Cut(line, ":"); ok {
			may[strings.TrimSpace(name)] = strings.Fields(deps)
		}
	}
	ps := load(t)
	for name, p := range ps {
		allowed, ok := may[name]
		if !ok {
			t.Errorf("%s: not in the rules", name)
		}
		if !p.doc {
			t.Errorf("%s: no package comment", name)
		}
		for _, imp := range p.imports {
			if slices.Contains(pure, name) && slices.Contains(banned, imp) {
				t.Errorf("%s is pure; it may not import %s", name, imp)
			}
			if imp != module && !strings.HasPrefix(imp, module+"/") || slices.Equal(allowed, []string{"*"}) {
				continue
			}
			if !slices.Contains(allowed, short(imp)) {
				t.Errorf("%s may not import %s", name, short(imp))
			}
		}
	}
}

func TestTidy(t *testing.T) {
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}
	for name, p := range load(t) {
		isPure := slices.Contains(pure, name)
		for _, file := range p.files {
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					pos := p.fset.Position(n.Pos())
					if n.Recv == nil && n.Name.Name == "init" {
						t.Errorf("%v: no init functions", pos)
					}
				case *ast.GoStmt:
					if isPure {
						t.Errorf("%v: %s is pure; it may not start goroutines", p.fset.Position(n.Pos()), name)
					}
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && isPure && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
						t.Errorf("%v: %s is pure; time is an argument", p.fset.Position(n.Pos()), name)
					}
				}
				return true
			})
		}
	}
}
