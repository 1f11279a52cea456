package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// layers are those of an image, from what changes rarely to what always does.
type layers []struct {
	what    string
	entries []entry
}

// build makes an image for one architecture. level is gzip's; which compressor it is go.sum says, so that another
// compiler of this program makes the same bits.
func (r described) build(arch string, from layers, level int) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range from {
		plain, err := layer(l.entries)
		if err != nil {
			return nil, err
		}
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, level)
		if err != nil {
			return nil, err
		}
		if _, err := z.Write(plain); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		one, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		image, err = mutate.Append(image, mutate.Addendum{Layer: one, MediaType: types.OCILayer, History: v1.History{Created: v1.Time{Time: r.Created}, CreatedBy: "scripts/image", Comment: l.what}})
		if err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created, config.Config = "linux", arch, v1.Time{Time: r.Created}, r.config()
	if arch == "arm64" {
		config.Variant = "v8"
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, err
	}
	return mutate.Annotations(image, r.labels()).(v1.Image), nil
}

// index is the image of all architectures.
func (r described) index(images []v1.Image) (v1.ImageIndex, error) {
	all := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		config, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		all = mutate.AppendManifests(all, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: config.Platform()}})
	}
	return mutate.Annotations(all, r.labels()).(v1.ImageIndex), nil
}

// writeOCI writes an archive of OCI's image layout: one name, all architectures. For registries, podman, skopeo,
// containerd, and Docker with containerd's store.
func writeOCI(path, scratch string, ref name.Tag, all v1.ImageIndex) error {
	folder := filepath.Join(scratch, "layout")
	to, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	if err := to.AppendIndex(all, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          ref.Name(), // what containerd and Docker call it
		"org.opencontainers.image.ref.name": ref.TagStr(),
	})); err != nil {
		return err
	}
	return create(path, func(w io.Writer) error {
		t := tar.NewWriter(w)
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error { // in lexical order
			if err != nil || d.IsDir() {
				return err
			}
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(folder, path)
			if err != nil {
				return err
			}
			if err := t.WriteHeader(&tar.Header{Name: relative, Mode: 0o644, Size: int64(len(body)), ModTime: then, Format: tar.FormatUSTAR}); err != nil {
				return err
			}
			_, err = t.Write(body)
			return err
		})
		if err != nil {
			return err
		}
		return t.Close()
	})
}

// writeDocker writes an archive as docker save does, of one architecture. It is the one whose health check podman
// knows, too: OCI's configuration has none, and podman leaves out what is not in it.
func writeDocker(path string, ref name.Tag, image v1.Image) error {
	return create(path, func(w io.Writer) error { return tarball.Write(ref, image, w) })
}

// create writes a file that is there whole, or not at all.
func create(path string, write func(io.Writer) error) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".neko-image")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if err := write(file); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := file.Chmod(0o644); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
