// Command image packs static binaries into an OCI image, without a daemon and without a network: one tar file that
// skopeo, podman, containerd and Docker load.
//
// Guarantee: the same binaries give the same bytes, so that everyone who builds a release can compare digests.
//
// Trap: "the same" includes the version of Go that this program is built with: it compresses the layers.
package main

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	out := fs.String("o", "bin/roost-image.tar", "`file` to write")
	archs := fs.String("arch", "amd64,arm64", "`architectures`; who cannot choose gets the first")
	binary := fs.String("binary", "bin/roost-linux-ARCH", "`file` of each; ARCH stands for the architecture")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%q: only flags are known", fs.Arg(0))
	}
	var programs []program
	for arch := range strings.SplitSeq(*archs, ",") {
		p, err := readProgram(strings.ReplaceAll(*binary, "ARCH", arch), arch)
		if err != nil {
			return err
		}
		programs = append(programs, p)
	}
	r, err := releaseOf(programs)
	if err != nil {
		return err
	}
	text, err := pack(programs, r)
	if err != nil {
		return err
	}
	if err := writeWhole(*out, text); err != nil {
		return err
	}
	fmt.Printf("%s: %s and %s for %s\n", *out, roostImage.tag(r), fnlbImage.tag(r), *archs)
	return nil
}

// program is a binary for one architecture.
type program struct {
	arch string
	text []byte
	info *buildinfo.BuildInfo
}

// machines are the architectures that images are made for. Nothing writes to it.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// readProgram reads a binary, and refuses one that an otherwise empty image could not run.
func readProgram(name, arch string) (program, error) {
	machine, ok := machines[arch]
	if !ok {
		return program{}, fmt.Errorf("architecture %q is not known: amd64 and arm64 are", arch)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return program{}, fmt.Errorf("read the binary for %s: %w", arch, err)
	}
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return program{}, fmt.Errorf("%s is no program for Linux: %w", name, err)
	}
	if f.Machine != machine {
		return program{}, fmt.Errorf("%s is a program for %v, not for %s", name, f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return program{}, fmt.Errorf("%s needs shared libraries, which the image does not have: build it with CGO_ENABLED=0", name)
		}
	}
	info, err := buildinfo.Read(bytes.NewReader(text))
	if err != nil {
		return program{}, fmt.Errorf("%s does not say what it was built from: %w", name, err)
	}
	return program{arch, text, info}, nil
}

// release is what binaries say of themselves.
type release struct {
	version  string
	revision string    // of the source; "": not known
	time     time.Time // of the source: the time of everything in the image, so that building it later changes nothing
}

// releaseOf reads the release that all programs are of.
func releaseOf(programs []program) (release, error) {
	var r release
	for i, p := range programs {
		this := release{version: p.info.Main.Version, time: time.Unix(0, 0).UTC()}
		if this.version == "" || this.version == "(devel)" {
			this.version = "devel"
		}
		for _, s := range p.info.Settings {
			switch s.Key {
			case "vcs.revision":
				this.revision = s.Value
			case "vcs.time":
				t, err := time.Parse(time.RFC3339, s.Value)
				if err != nil {
					return release{}, fmt.Errorf("read the time of the source: %w", err)
				}
				this.time = t.UTC()
			}
		}
		if i > 0 && this != r {
			return release{}, fmt.Errorf("the binary for %s is of %s, that for %s of %s: build them together", programs[0].arch, r.version, p.arch, this.version)
		}
		r = this
	}
	return r, nil
}

// writeWhole writes a file that is there whole or not at all.
func writeWhole(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".image-*")
	if err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	return nil
}
