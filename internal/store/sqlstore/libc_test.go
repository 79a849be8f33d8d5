package sqlstore

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// SQLite was translated against one version of its C library; any other breaks it in ways that no test finds
// (https://gitlab.com/cznic/sqlite/-/issues/177).
func TestCLibraryIsTheOneThatSQLiteWasTranslatedFor(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}} {{.GoMod}}", "modernc.org/libc", "modernc.org/sqlite").Output()
	if err != nil {
		t.Skipf("go list -m: %v", err)
	}
	f := strings.Fields(string(out))
	if len(f) != 4 {
		t.Skipf("go list -m says %q", out)
	}
	mod, err := os.ReadFile(f[3])
	if err != nil {
		t.Skipf("the module cache is not there: %v", err)
	}
	if _, err := os.ReadFile("../../../go.mod"); err != nil { // so that its change runs this test again
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^\s*modernc\.org/libc (\S+)`).FindSubmatch(mod)
	if want == nil || string(want[1]) != f[0] {
		t.Errorf("modernc.org/libc is %s, %s of sqlite wants %q: go get modernc.org/libc at that version", f[0], f[2], want)
	}
}
