// Push puts the image of an archive into a registry, with all its architectures, and beside each of them its bill of
// materials, as OCI 1.1 attaches one thing to another: by a manifest whose subject is the image (a registry that
// does not know this gets a tag that tells it). It logs in as docker and podman do.
//
//	go run ./push -archive ../../dist/neko-1.0.0-image.oci.tar ghcr.io/nekoctl/neko:1.0.0
package main

import (
	"archive/tar"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const cyclonedx = "application/vnd.cyclonedx+json"

func main() {
	archive := flag.String("archive", "", "the `FILE` that make image has written, neko-…-image.oci.tar")
	flag.Parse()
	if err := push(*archive, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func push(archive, to string) error {
	if archive == "" || to == "" {
		return errors.New("name an archive, and where it is to go: push -archive FILE REGISTRY/NAME:TAG")
	}
	ref, err := name.NewTag(to, name.StrictValidation)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "neko-push")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := unpack(archive, folder); err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	top, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return err
	}
	all, err := partial.FindIndexes(top, func(v1.Descriptor) bool { return true })
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return fmt.Errorf("%s has %d images", archive, len(all))
	}
	login := remote.WithAuthFromKeychain(authn.DefaultKeychain)
	if err := remote.WriteIndex(ref, all[0], login); err != nil {
		return err
	}
	manifest, err := all[0].IndexManifest()
	if err != nil {
		return err
	}
	for _, image := range manifest.Manifests {
		bill := fmt.Sprintf("%s-linux-%s.cdx.json", strings.TrimSuffix(archive, ".oci.tar"), image.Platform.Architecture)
		text, err := os.ReadFile(bill)
		if err != nil {
			return err
		}
		attached, err := attach(text, filepath.Base(bill), image)
		if err != nil {
			return err
		}
		digest, err := attached.Digest()
		if err != nil {
			return err
		}
		if err := remote.Write(ref.Context().Digest(digest.String()), attached, login); err != nil {
			return err
		}
		fmt.Printf("%s@%s of %s\n", ref.Context(), digest, image.Digest)
	}
	digest, err := all[0].Digest()
	fmt.Printf("%s@%s\n", ref, digest)
	return err
}

// attach is an artifact with one file, of what subject describes.
func attach(text []byte, title string, subject v1.Descriptor) (v1.Image, error) {
	artifact := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), cyclonedx)
	artifact, err := mutate.Append(artifact, mutate.Addendum{Layer: static.NewLayer(text, cyclonedx), MediaType: cyclonedx,
		Annotations: map[string]string{"org.opencontainers.image.title": title}})
	if err != nil {
		return nil, err
	}
	return mutate.Subject(artifact, v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}).(v1.Image), nil
}

func unpack(archive, to string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	for r := tar.NewReader(file); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) {
			return fmt.Errorf("%s does not belong there", h.Name)
		}
		path := filepath.Join(to, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		out, err := os.Create(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
}
