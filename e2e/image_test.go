package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// The image is made by its make target, read by skopeo and umoci, which know nothing of us, and run by runc.

func TestTheImageRunsAsItsUsersCallIt(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		missing(t, "containers are run by root on Linux here")
	}
	for _, name := range []string{"make", "skopeo", "umoci", "runc"} {
		program(t, name)
	}
	im := makeImage(t)

	t.Run("roost", func(t *testing.T) {
		node := newNode(t, echo("n1"))
		addr, admin := freePort(t), freePort(t)
		c := im.start(t, "roost", "serve", "--listen", addr, "--nodes", "n1="+node+",n2=127.0.0.1:1", "--admin", admin)
		c.listens(t, addr)
		if resp, text := get(t, newClient(t, false), "http://"+addr+"/r/app/hello"); resp.Header.Get("Node") != "n1" || text != "/r/app/hello" {
			t.Errorf("%v %s", resp.Header, text)
		}
		if out, errs, code := c.exec(t, "roost", "status"); code != 0 || !strings.Contains(out, node) {
			t.Errorf("roost status in the container: exit code %d\n%s%s", code, out, errs)
		}
		c.signal(t, syscall.SIGTERM)
		if code := c.wait(t, patience); code != 0 {
			t.Errorf("exit code %d", code)
		}
		for _, name := range []string{"roost.db", "admin.token"} {
			if _, err := os.Stat(filepath.Join(c.root, "var/lib/roost", name)); err != nil {
				t.Errorf("what must last: %v", err)
			}
		}
	})
	t.Run("its version", func(t *testing.T) {
		c := im.start(t, "roost", "version")
		if code := c.wait(t, patience); code != 0 || !strings.HasPrefix(c.stdout.tail(1), "roost ") {
			t.Errorf("exit code %d: %s", code, c.stdout.tail(5))
		}
	})
	t.Run("fnlb", func(t *testing.T) {
		mux := http.NewServeMux()
		mux.HandleFunc("/version", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"version":"0.3.749"}`) })
		mux.Handle("/", echo("fn"))
		a, b := newNode(t, mux), newNode(t, mux)
		addr := freePort(t)
		c := im.start(t, "fnlb", "--nodes", a+","+b, "--listen", addr, "--mgmt-listen", addr)
		c.listens(t, addr)
		client := newClient(t, false)
		if resp, text := get(t, client, "http://"+addr+"/r/app/hello"); resp.Header.Get("Node") != "fn" || text != "/r/app/hello" {
			t.Errorf("%v %s", resp.Header, text)
		}
		if _, text := get(t, client, "http://"+addr+"/1/lb/nodes"); !strings.Contains(text, a) || !strings.Contains(text, b) {
			t.Errorf("nodes: %s", text)
		}
		c.signal(t, syscall.SIGTERM)
		if code := c.wait(t, patience); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

// madeImage is a file of images, and what they are called.
type madeImage struct {
	file    string
	version string
}

// makeImage makes the image for this machine.
func makeImage(t *testing.T) madeImage {
	t.Helper()
	dir := t.TempDir()
	out, errs, code := command(t, buildTime, "..", program(t, "make"), "image", "BIN="+dir, "IMAGE_ARCH="+runtime.GOARCH)
	if code != 0 {
		t.Fatalf("make image: exit code %d\n%s%s", code, out, errs)
	}
	im := madeImage{file: filepath.Join(dir, "roost-image.tar")}
	bin := filepath.Join(dir, "roost-linux-"+runtime.GOARCH)
	text, _, _ := command(t, patience, "", bin, "version")
	im.version = strings.NewReplacer("roost ", "", "\n", "", "+", "-").Replace(text)
	return im
}

// container is a container that runs, and the runc command that runs it.
type container struct {
	*child
	id   string
	runc []string
	root string // its file system
}

// exec runs a program in the container, as "docker exec" does.
func (c *container) exec(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return command(t, patience, "", program(t, "runc"), append(append(c.runc, "exec", c.id), args...)...)
}

// start unpacks an image and runs it with arguments behind its own, as "docker run" does, in the network of this machine.
func (im madeImage) start(t *testing.T, name string, args ...string) *container {
	t.Helper()
	dir := shortDir(t)
	tool := func(name string, args ...string) {
		t.Helper()
		if out, errs, code := command(t, patience, dir, program(t, name), args...); code != 0 {
			t.Fatalf("%s: exit code %d\n%s%s", name, code, out, errs)
		}
	}
	ref := name + ":" + im.version
	tool("skopeo", "inspect", "docker-archive:"+im.file+":"+ref) // what docker load reads
	tool("skopeo", "--insecure-policy", "copy", "oci-archive:"+im.file+":"+ref, "oci:layout:image")
	tool("umoci", "unpack", "--image", "layout:image", "bundle")

	bundle := filepath.Join(dir, "bundle")
	var spec map[string]any
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err == nil {
		err = json.Unmarshal(text, &spec)
	}
	if err != nil {
		t.Fatal(err)
	}
	process, linux := spec["process"].(map[string]any), spec["linux"].(map[string]any)
	process["terminal"] = false
	for _, a := range args {
		process["args"] = append(process["args"].([]any), a)
	}
	var spaces []any
	for _, ns := range linux["namespaces"].([]any) {
		if ns.(map[string]any)["type"] != "network" {
			spaces = append(spaces, ns)
		}
	}
	linux["namespaces"] = spaces
	if text, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}

	c := &container{id: filepath.Base(dir), runc: []string{"--root", filepath.Join(dir, "runc")}, root: filepath.Join(bundle, "rootfs")}
	runc := func(args ...string) *exec.Cmd { return exec.Command(program(t, "runc"), append(c.runc, args...)...) }
	t.Cleanup(func() { runc("delete", "--force", c.id).Run() }) // it outlives the runc that is killed with the test
	c.child = start(t, runc("run", "--bundle", bundle, c.id))
	return c
}
