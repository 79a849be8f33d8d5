package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"time"
)

// user is who runs the program: the number that distroless images use, too, and that no system gives to people.
const user = 65532

// file is an entry of the layer.
type file struct {
	name  string // directories end with a slash
	mode  int64
	owner int
	text  []byte
	link  string // of a symbolic link: where it leads
}

// files are the whole root file system, sorted. There is no shell and nothing else that can be run.
func files(program []byte) []file {
	return []file{
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, text: fmt.Appendf(nil, "root:x:0:\nroost:x:%d:\n", user)},
		{name: "etc/passwd", mode: 0o644, text: fmt.Appendf(nil, "root:x:0:0:root:/:/usr/bin/nologin\nroost:x:%d:%[1]d:roost:%s:/usr/bin/nologin\n", user, stateDir)},
		{name: "tmp/", mode: 0o1777, owner: user},
		{name: "usr/", mode: 0o755},
		{name: "usr/bin/", mode: 0o755},
		{name: "usr/bin/fnlb", mode: 0o777, link: "roost"},
		{name: "usr/bin/roost", mode: 0o755, text: program},
		{name: "var/", mode: 0o755},
		{name: "var/lib/", mode: 0o755},
		{name: "var/lib/roost/", mode: 0o700, owner: user},
	}
}

// stateDir is where roost keeps its state in a container.
const stateDir = "/var/lib/roost"

// layer packs a program's root file system. diffID is the digest of what unpacks to it.
func layer(program []byte, at time.Time) (packed []byte, diffID string, err error) {
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, f := range files(program) {
		h := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.owner, Gid: f.owner, ModTime: at, Typeflag: tar.TypeReg, Size: int64(len(f.text))}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		case f.name[len(f.name)-1] == '/':
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, "", fmt.Errorf("pack %s: %w", f.name, err)
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, "", fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, "", fmt.Errorf("pack the layer: %w", err)
	}
	var small bytes.Buffer
	z, err := gzip.NewWriterLevel(&small, gzip.BestCompression)
	if err != nil {
		return nil, "", err
	}
	if _, err := z.Write(text.Bytes()); err != nil {
		return nil, "", fmt.Errorf("compress the layer: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, "", fmt.Errorf("compress the layer: %w", err)
	}
	return small.Bytes(), digest(text.Bytes()), nil
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }
