package container

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/nekoctl/neko/scripts/source"
)

// tool is scripts/image.
var tool string

const described = "v9.8.7"

// writeImage has the tool write an image of the binaries, for this machine's architecture.
func writeImage(to string) error {
	out, err := source.Fetching(func() ([]byte, error) { // it has scripts/licenses be built
		cmd := exec.Command(tool, "-binaries", binaries, "-platforms", "linux/"+runtime.GOARCH, "-compress", "0", "-version", described, "-revision", "0123456789abcdef", "-o", to)
		cmd.Dir = "../image"
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1800000000")
		return cmd.CombinedOutput()
	})
	if err != nil {
		return fmt.Errorf("scripts/image: %w\n%s", err, out)
	}
	return nil
}

func stem(dist string) string {
	return filepath.Join(dist, "neko-"+strings.TrimPrefix(described, "v")+"-image")
}

func dockerArchive(dist string) string {
	return stem(dist) + "-linux-" + runtime.GOARCH + ".docker.tar"
}
func ociArchive(dist string) string { return stem(dist) + ".oci.tar" }
func bill(dist string) string       { return stem(dist) + "-linux-" + runtime.GOARCH + ".cdx.json" }

// readArchive are the files of a tar.
func readArchive(path string) (map[string][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
}

// loaded is an archive as docker load reads it.
type loaded struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func load1(files map[string][]byte) (one loaded, err error) {
	var all []loaded
	if err := json.Unmarshal(files["manifest.json"], &all); err != nil {
		return one, err
	}
	if len(all) != 1 {
		return one, fmt.Errorf("manifest.json has %d images", len(all))
	}
	return all[0], nil
}

// eachFile calls for every entry of every layer, in their order.
func eachFile(archive string, do func(*tar.Header, io.Reader) error) error {
	files, err := readArchive(archive)
	if err != nil {
		return err
	}
	one, err := load1(files)
	if err != nil {
		return err
	}
	for _, name := range one.Layers {
		z, err := gzip.NewReader(bytes.NewReader(files[name]))
		if err != nil {
			return fmt.Errorf("layer %q: %w", name, err)
		}
		for r := tar.NewReader(z); ; {
			header, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				err = do(header, r)
			}
			if err != nil {
				return fmt.Errorf("layer %q: %w", name, err)
			}
		}
	}
	return nil
}

// unpack makes the root file system, as an engine does.
func unpack(archive, root string) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	return eachFile(archive, func(h *tar.Header, r io.Reader) error {
		to := filepath.Join(root, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			if err := os.Mkdir(to, 0o755); err != nil { // those above come first
				return err
			}
		case tar.TypeReg:
			body, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			if err := os.WriteFile(to, body, 0o600); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is neither a file nor a folder", h.Name)
		}
		return errors.Join(os.Chown(to, h.Uid, h.Gid), os.Chmod(to, h.FileInfo().Mode()))
	})
}
