package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Media types of the OCI image specification 1.0.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// image is one of the images in the file: they differ in how the program is called alone.
type image struct {
	name       string
	entrypoint []string
	port       string // that it listens on by default
	title      string
}

// The images that are made. Nothing writes to these.
var (
	roostImage = image{"roost", []string{"/usr/bin/roost"}, "8080/tcp", "Roost, a load balancer that keeps what belongs together together"}
	fnlbImage  = image{"fnlb", []string{"/usr/bin/roost", "fnlb"}, "8081/tcp", "Roost in place of fnlb"}
)

// tag is what the image is called, in the characters that registries allow.
func (i image) tag(r release) string {
	return i.name + ":" + strings.Map(func(c rune) rune {
		if c == '.' || c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			return c
		}
		return '-'
	}, r.version)
}

// descriptor points to a blob (OCI content descriptors).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// index lists images: those of one name by platform, or those of the file by name (OCI image index).
type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// manifest is one image for one platform (OCI image manifest).
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// config says how the image is run (OCI image configuration).
type config struct {
	Created time.Time `json:"created"`
	platform
	Config  process   `json:"config"`
	RootFS  rootFS    `json:"rootfs"`
	History []history `json:"history"`
}

type process struct {
	User         string              `json:"User"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts"`
	Env          []string            `json:"Env"`
	Entrypoint   []string            `json:"Entrypoint"`
	WorkingDir   string              `json:"WorkingDir"`
	Labels       map[string]string   `json:"Labels"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// archived is an image as the image loader of Docker finds it that does not know the OCI layout: by architecture at most.
type archived struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// pack makes the file: an OCI image layout, and beside it the list that older loaders of Docker look for.
func pack(programs []program, r release) ([]byte, error) {
	blobs := map[string][]byte{} // by digest
	keep := func(mediaType string, b []byte) descriptor {
		d := descriptor{MediaType: mediaType, Digest: digest(b), Size: len(b)}
		blobs[d.Digest] = b
		return d
	}
	keepJSON := func(mediaType string, v any) descriptor {
		return keep(mediaType, encode(v))
	}
	layers, diffIDs := make([]descriptor, len(programs)), make([]string, len(programs))
	for i, p := range programs {
		packed, diffID, err := layer(p.text, r.time)
		if err != nil {
			return nil, err
		}
		layers[i], diffIDs[i] = keep(typeLayer, packed), diffID
	}
	top := index{SchemaVersion: 2, MediaType: typeIndex}
	var list []archived
	for _, im := range []image{roostImage, fnlbImage} {
		platforms := index{SchemaVersion: 2, MediaType: typeIndex}
		for i, p := range programs {
			c := keepJSON(typeConfig, im.config(p.arch, diffIDs[i], r))
			m := keepJSON(typeManifest, manifest{SchemaVersion: 2, MediaType: typeManifest, Config: c, Layers: layers[i : i+1], Annotations: im.labels(r)})
			m.Platform = &platform{p.arch, "linux"}
			platforms.Manifests = append(platforms.Manifests, m)
			tag := im.tag(r)
			if i > 0 {
				tag += "-" + p.arch
			}
			list = append(list, archived{Config: blobName(c.Digest), RepoTags: []string{tag}, Layers: []string{blobName(layers[i].Digest)}})
		}
		d := keepJSON(typeIndex, platforms)
		// containerd, and Docker with it, wants the name with its registry; all others know it by the reference.
		d.Annotations = map[string]string{"org.opencontainers.image.ref.name": im.tag(r), "io.containerd.image.name": "docker.io/library/" + im.tag(r)}
		top.Manifests = append(top.Manifests, d)
	}
	return archive(blobs, map[string][]byte{
		"index.json":    encode(top),
		"manifest.json": encode(list),
		"oci-layout":    []byte(`{"imageLayoutVersion":"1.0.0"}`),
	}, r.time)
}

// config is how the image is run on one architecture.
func (i image) config(arch, diffID string, r release) config {
	return config{
		Created:  r.time,
		platform: platform{arch, "linux"},
		Config: process{
			User:         fmt.Sprintf("%d:%[1]d", user), // numbers: Kubernetes cannot tell from a name that it is not root
			ExposedPorts: map[string]struct{}{i.port: {}},
			Env:          []string{"PATH=/usr/bin", "STATE_DIRECTORY=" + stateDir},
			Entrypoint:   i.entrypoint,
			WorkingDir:   "/",
			Labels:       i.labels(r),
		},
		RootFS:  rootFS{"layers", []string{diffID}},
		History: []history{{r.time, "packaging/image"}},
	}
}

// labels say what the image is (OCI predefined annotation keys).
func (i image) labels(r release) map[string]string {
	m := map[string]string{
		"org.opencontainers.image.title":    i.title,
		"org.opencontainers.image.version":  r.version,
		"org.opencontainers.image.created":  r.time.Format(time.RFC3339),
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	if r.revision != "" {
		m["org.opencontainers.image.revision"] = r.revision
	}
	return m
}

// archive writes a layout as one file, sorted by name.
func archive(blobs, top map[string][]byte, at time.Time) ([]byte, error) {
	entries := map[string][]byte{"blobs/": nil, "blobs/sha256/": nil}
	maps.Copy(entries, top)
	for d, b := range blobs {
		entries[blobName(d)] = b
	}
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		h := &tar.Header{Name: name, Mode: 0o644, ModTime: at, Size: int64(len(entries[name])), Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "/") {
			h.Mode, h.Typeflag = 0o755, tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
		if _, err := w.Write(entries[name]); err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write the image: %w", err)
	}
	return text.Bytes(), nil
}

// blobName is where a layout keeps a blob.
func blobName(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// encode writes what has no cycles, channels or functions in it.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("image: " + err.Error())
	}
	return b
}
