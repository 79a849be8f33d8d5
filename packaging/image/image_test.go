package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// made is a release for tests, and its programs.
func made() ([]program, release) {
	return []program{{arch: "amd64", text: []byte("for amd64")}, {arch: "arm64", text: []byte("for arm64")}},
		release{version: "v1.2.3+dirty", revision: "0123456789abcdef", time: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
}

// layout is an image file, read again.
type layout struct {
	t       *testing.T
	files   map[string][]byte
	schemas *jsonschema.Compiler
}

func open(t *testing.T, text []byte) *layout {
	t.Helper()
	l := &layout{t: t, files: map[string][]byte{}, schemas: jsonschema.NewCompiler()}
	for _, e := range entries(t, text) {
		if e.Typeflag == tar.TypeReg {
			l.files[e.Name] = e.text
		}
	}
	names, err := filepath.Glob("testdata/oci/*.json")
	if err != nil || len(names) < 7 {
		t.Fatalf("%d schemas, %v", len(names), err)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		schema, err := jsonschema.UnmarshalJSON(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		// Some of them look for the others one level higher, because of the ids that they give to their parts.
		for _, url := range []string{schemaURL(filepath.Base(name)), schemaURL("../" + filepath.Base(name))} {
			if err := l.schemas.AddResource(url, schema); err != nil {
				t.Fatal(err)
			}
		}
	}
	return l
}

// schemaURL is where the schemas look for each other.
func schemaURL(name string) string {
	return "https://opencontainers.org" + path.Join("/schema/image", name)
}

type entry struct {
	*tar.Header
	text []byte
}

func entries(t *testing.T, text []byte) []entry {
	t.Helper()
	var es []entry
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return es
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		es = append(es, entry{h, b})
	}
}

// read decodes a file of the layout that must follow a schema.
func (l *layout) read(name, schema string, into any) {
	l.t.Helper()
	text, ok := l.files[name]
	if !ok {
		l.t.Fatalf("there is no %s", name)
	}
	s, err := l.schemas.Compile(schemaURL(schema))
	if err != nil {
		l.t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		l.t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		l.t.Errorf("%s: %v", name, err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		l.t.Fatal(err)
	}
}

// follow decodes what a descriptor points to.
func (l *layout) follow(d descriptor, mediaType, schema string, into any) {
	l.t.Helper()
	l.blob(d, mediaType)
	l.read(blobName(d.Digest), schema, into)
}

func (l *layout) blob(d descriptor, mediaType string) []byte {
	l.t.Helper()
	b, ok := l.files[blobName(d.Digest)]
	if !ok || d.MediaType != mediaType || d.Size != len(b) || d.Digest != digest(b) {
		l.t.Fatalf("%+v: there %v, %d bytes, %s; want a %s", d, ok, len(b), digest(b), mediaType)
	}
	return b
}

func TestTheFileIsAnOCILayoutOfTwoImagesForTwoPlatforms(t *testing.T) {
	programs, r := made()
	text, err := pack(programs, r)
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, text)
	var top index
	l.read("oci-layout", "image-layout-schema.json", &struct{ ImageLayoutVersion string }{})
	l.read("index.json", "image-index-schema.json", &top)
	want := []struct {
		ref, port  string
		entrypoint []string
	}{
		{"roost:v1.2.3-dirty", "8080/tcp", []string{"/usr/bin/roost"}},
		{"fnlb:v1.2.3-dirty", "8081/tcp", []string{"/usr/bin/roost", "fnlb"}},
	}
	if len(top.Manifests) != len(want) {
		t.Fatalf("%d images", len(top.Manifests))
	}
	reached := map[string]bool{}
	for i, w := range want {
		d := top.Manifests[i]
		if a := d.Annotations; a["org.opencontainers.image.ref.name"] != w.ref || a["io.containerd.image.name"] != "docker.io/library/"+w.ref {
			t.Errorf("image %d: %v", i, a)
		}
		var platforms index
		l.follow(d, typeIndex, "image-index-schema.json", &platforms)
		reached[d.Digest] = true
		for j, p := range programs {
			d := platforms.Manifests[j]
			if *d.Platform != (platform{p.arch, "linux"}) {
				t.Errorf("platform %+v", d.Platform)
			}
			var m manifest
			l.follow(d, typeManifest, "image-manifest-schema.json", &m)
			var c config
			l.follow(m.Config, typeConfig, "config-schema.json", &c)
			reached[d.Digest], reached[m.Config.Digest], reached[m.Layers[0].Digest] = true, true, true
			if len(m.Layers) != 1 || len(c.RootFS.DiffIDs) != 1 {
				t.Fatalf("%d layers, %d of the configuration", len(m.Layers), len(c.RootFS.DiffIDs))
			}
			if got := digest(unzip(t, l.blob(m.Layers[0], typeLayer))); got != c.RootFS.DiffIDs[0] {
				t.Errorf("the layer unpacks to %s, not to %s", got, c.RootFS.DiffIDs[0])
			}
			if c.platform != *d.Platform || !c.Created.Equal(r.time) || c.Config.User != "65532:65532" || !reflect.DeepEqual(c.Config.Entrypoint, w.entrypoint) ||
				!reflect.DeepEqual(c.Config.ExposedPorts, map[string]struct{}{w.port: {}}) || !slices.Contains(c.Config.Env, "STATE_DIRECTORY=/var/lib/roost") {
				t.Errorf("%s for %s: %+v", w.ref, p.arch, c)
			}
			if v := c.Config.Labels; v["org.opencontainers.image.version"] != r.version || v["org.opencontainers.image.revision"] != r.revision {
				t.Errorf("labels: %v", v)
			}
		}
	}
	for name := range l.files {
		if d, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && !reached["sha256:"+d] {
			t.Errorf("nothing leads to %s", name)
		}
	}
}

// TestOlderLoadersFindEveryImage: without the list that "docker save" wrote before OCI layouts, the image store that
// Docker had before containerd's takes the file for an empty one.
func TestOlderLoadersFindEveryImage(t *testing.T) {
	programs, r := made()
	text, err := pack(programs, r)
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, text)
	var list []archived
	if err := json.Unmarshal(l.files["manifest.json"], &list); err != nil {
		t.Fatal(err)
	}
	var tags []string
	for _, a := range list {
		var c config
		l.read(a.Config, "config-schema.json", &c)
		if got := digest(unzip(t, l.files[a.Layers[0]])); len(a.Layers) != 1 || got != c.RootFS.DiffIDs[0] {
			t.Errorf("%s: layers %v", a.RepoTags, a.Layers)
		}
		tags = append(tags, a.RepoTags[0]+" "+c.Architecture)
	}
	want := []string{"roost:v1.2.3-dirty amd64", "roost:v1.2.3-dirty-arm64 arm64", "fnlb:v1.2.3-dirty amd64", "fnlb:v1.2.3-dirty-arm64 arm64"}
	if !slices.Equal(tags, want) {
		t.Errorf("%q, want %q", tags, want)
	}
}

func unzip(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTheRootFileSystemIsTheProgramAndWhatItMayWrite(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	packed, _, err := layer([]byte("program"), at)
	if err != nil {
		t.Fatal(err)
	}
	parents, last := map[string]bool{".": true}, ""
	var got []string
	for _, e := range entries(t, unzip(t, packed)) {
		name := path.Clean(e.Name)
		if !parents[path.Dir(name)] || e.Name <= last || !e.ModTime.Equal(at) || e.Uname != "" || e.Gid != e.Uid {
			t.Errorf("%+v after %s", e.Header, last)
		}
		parents[name], last = true, e.Name
		got = append(got, fmt.Sprintf("%s %s %d %s", e.FileInfo().Mode(), name, e.Uid, e.Linkname))
		if name == "usr/bin/roost" && string(e.text) != "program" {
			t.Errorf("the program is %q", e.text)
		}
	}
	want := []string{"drwxr-xr-x etc 0 ", "-rw-r--r-- etc/group 0 ", "-rw-r--r-- etc/passwd 0 ", "dtrwxrwxrwx tmp 65532 ", "drwxr-xr-x usr 0 ", "drwxr-xr-x usr/bin 0 ",
		"Lrwxrwxrwx usr/bin/fnlb 0 roost", "-rwxr-xr-x usr/bin/roost 0 ", "drwxr-xr-x var 0 ", "drwxr-xr-x var/lib 0 ", "drwx------ var/lib/roost 65532 "}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want\n%q", got, want)
	}
}

func TestTheSameProgramsGiveTheSameBytes(t *testing.T) {
	programs, r := made()
	one, err := pack(programs, r)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 { // maps are walked in another order each time
		if again, err := pack(programs, r); err != nil || !bytes.Equal(one, again) {
			t.Fatalf("other bytes, %v", err)
		}
	}
	r.version = "v1.2.4"
	if other, err := pack(programs, r); err != nil || bytes.Equal(one, other) {
		t.Errorf("another version, the same bytes, %v", err)
	}
}

func TestReleasesAreReadFromTheBinaries(t *testing.T) {
	info := func(version string, settings ...debug.BuildSetting) *buildinfo.BuildInfo {
		return &buildinfo.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	full := info("v1.2.3", debug.BuildSetting{Key: "vcs.revision", Value: "abc"}, debug.BuildSetting{Key: "vcs.time", Value: "2026-11-20T14:00:00+02:00"})
	want := release{"v1.2.3", "abc", time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	if r, err := releaseOf([]program{{info: full}, {info: full}}); r != want || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := releaseOf([]program{{info: info("(devel)")}}); r.version != "devel" || r.time.Unix() != 0 || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := releaseOf([]program{{arch: "amd64", info: full}, {arch: "arm64", info: info("v1.2.4")}}); err == nil || !strings.Contains(err.Error(), "v1.2.4") {
		t.Errorf("two releases in one image: %v", err)
	}
}

func TestWhatAnEmptyImageCannotRunIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name, arch string
		text       []byte
		want       string
	}{
		{"script", "amd64", []byte("#!/bin/sh\n"), "is no program for Linux"},
		{"other", "arm64", program64(t, elf.EM_X86_64, elf.PT_LOAD), "is a program for EM_X86_64, not for arm64"},
		{"dynamic", "amd64", program64(t, elf.EM_X86_64, elf.PT_INTERP), "build it with CGO_ENABLED=0"},
		{"foreign", "amd64", program64(t, elf.EM_X86_64, elf.PT_LOAD), "does not say what it was built from"},
		{"mips", "mips", nil, `architecture "mips" is not known`},
	} {
		name := filepath.Join(dir, c.name)
		if err := os.WriteFile(name, c.text, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := readProgram(name, c.arch); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if err := run([]string{"-arch", "amd64", "-binary", filepath.Join(dir, "absent-ARCH")}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "absent-amd64") {
		t.Errorf("absent: %v", err)
	}
}

// program64 is as much of a program as its header says.
func program64(t *testing.T, m elf.Machine, segment elf.ProgType) []byte {
	t.Helper()
	h := elf.Header64{Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type: uint16(elf.ET_EXEC), Machine: uint16(m), Version: uint32(elf.EV_CURRENT), Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1}
	var b bytes.Buffer
	if err := errors.Join(binary.Write(&b, binary.LittleEndian, h), binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(segment)})); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAFileIsWrittenWholeOrNotAtAll(t *testing.T) {
	name := filepath.Join(t.TempDir(), "image.tar")
	for _, text := range []string{"one", "another"} {
		if err := writeWhole(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); string(got) != text || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := writeWhole(filepath.Join(name, "below"), nil); err == nil {
		t.Error("a file below a file was written")
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(name), ".*")); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestTheDockerfileBuildsTheSame(t *testing.T) {
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(string(mod), "\ngo ")
	version = version[:strings.LastIndexByte(version[:strings.IndexByte(version, '\n')], '.')]
	_, r := made()
	var stages []string
	for _, im := range []image{fnlbImage, roostImage} { // what is built without a target stands last
		entrypoint, err := json.Marshal(im.entrypoint)
		if err != nil {
			t.Fatal(err)
		}
		stages = append(stages, fmt.Sprintf("FROM base AS %s\nEXPOSE %s\nENTRYPOINT %s\n", im.name, strings.TrimSuffix(im.port, "/tcp"),
			strings.ReplaceAll(string(entrypoint), ",", ", ")))
	}
	c := roostImage.config("amd64", "", r).Config
	want := []string{"golang:" + version + " AS build\n", "\nUSER " + c.User + "\n", "\nENV " + strings.Join(c.Env, " ") + "\n", strings.Join(stages, "\n")}
	for _, f := range files(nil) {
		if len(f.text) > 0 {
			want = append(want, "printf '"+strings.ReplaceAll(string(f.text), "\n", `\n`)+"' >"+f.name)
		}
	}
	for _, w := range want {
		if !strings.Contains(string(text), w) {
			t.Errorf("the Dockerfile does not have\n%s", w)
		}
	}
	if !strings.HasSuffix(string(text), want[3]) {
		t.Error("the Dockerfile does not end with what is built without a target")
	}
}
