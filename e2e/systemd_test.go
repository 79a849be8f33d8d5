package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// exposureLimit is what systemd may think of our confinement at most, in tenths: 0 is an island, 100 is root.
const exposureLimit = "20"

func TestTheSystemdUnitsAreRightAndConfined(t *testing.T) {
	t.Parallel()
	analyze := program(t, "systemd-analyze")
	dir := t.TempDir()
	for _, name := range []string{"roost.service", "roost.socket"} {
		text, err := os.ReadFile(filepath.Join("../packaging/systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		// What is started must be there.
		text = []byte(strings.ReplaceAll(string(text), "/usr/bin/roost", roostBinary(t)))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	service, socket := filepath.Join(dir, "roost.service"), filepath.Join(dir, "roost.socket")
	if out, errs, code := command(t, patience, dir, analyze, "verify", "--man=no", service, socket); code != 0 || out+errs != "" {
		t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
	}
	if out, errs, code := command(t, patience, dir, analyze, "security", "--offline=true", "--threshold="+exposureLimit, service); code != 0 {
		t.Errorf("security: exit code %d\n%s%s", code, out, errs)
	}
}
