package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait for an event that takes milliseconds on an idle machine.
const patience = 30 * time.Second

// buildTime bounds a build with cold caches on two cores.
const buildTime = 8 * time.Minute

func TestMain(m *testing.M) {
	if name := os.Getenv(nodeEnv); name != "" {
		os.Exit(nodeMain(name))
	}
	flag.Parse()
	if testing.Short() {
		fmt.Println("SKIP: end-to-end tests run without -short")
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "roost-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	return m.Run()
}

// binDir is where programs are built to; set once, before any test.
var binDir string

var buildRoost = sync.OnceValue(func() error { return build("./cmd/roost") })

// The tools are pinned apart from the product.
var buildTools = sync.OnceValue(func() error {
	return build("-modfile=tools/go.mod", "google.golang.org/grpc/interop/client", "google.golang.org/grpc/interop/server",
		"github.com/summerwind/h2spec/cmd/h2spec")
})

func build(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", binDir + "/"}, args...)...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// roostBinary is the program under test.
func roostBinary(t testing.TB) string {
	t.Helper()
	if bin := os.Getenv("ROOST_BIN"); bin != "" {
		return bin
	}
	if err := buildRoost(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(binDir, "roost")
}

// tool is a Go program pinned in tools/go.mod.
func tool(t testing.TB, name string) string {
	t.Helper()
	if err := buildTools(); err != nil {
		missing(t, "cannot build the tools: "+err.Error())
	}
	return filepath.Join(binDir, name)
}

// program finds an external program by the first of its names that is installed.
func program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		// Servers live where the PATH of ordinary users does not lead.
		if path, err := exec.LookPath(filepath.Join("/usr/sbin", name)); err == nil {
			return path
		}
	}
	missing(t, names[0]+" is not installed")
	return ""
}

// missing ends a test that lacks what it needs: a failure where .ci/run has provided it, else a loud skip.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" && runtime.GOOS == "linux" && os.Geteuid() == 0 {
		t.Fatal(what + ", although .ci/run provides it")
	}
	t.Skip("SKIP: " + what)
}
