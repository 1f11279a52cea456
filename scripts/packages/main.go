// Packages makes what is given away of a release, for Linux on amd64 and arm64: a deb, an rpm, and a tarball with
// install.sh, and SHA256SUMS of them. The same commit and the same Go give the same bits, wherever and whenever they are made:
// all times are $SOURCE_DATE_EPOCH, or that of the commit.
//
//	make packages
//	go run -C scripts/packages . -version v1.0.0 -out dist [-arch amd64]
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

func main() {
	var p packages
	arch := flag.String("arch", "amd64,arm64", "for which machines")
	flag.StringVar(&p.version, "version", "devel", "what git describe says")
	flag.StringVar(&p.ldflags, "ldflags", "", "of go build, as the Makefile has them")
	flag.StringVar(&p.out, "out", "dist", "the folder for the files, below the repository's if it is relative")
	flag.Parse()
	p.archs = strings.Split(*arch, ",")
	syscall.Umask(0o022) // modes of files are bits of the packages, too
	if err := p.make(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

type packages struct {
	version, ldflags string
	archs            []string
	root             string // of the repository
	out              string
	work             string // a folder that is gone in the end
	at               time.Time
	made             []string // names in out
}

func (p *packages) make() (err error) {
	if p.root, err = filepath.Abs("../.."); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(p.root, "scripts/packages/nfpm.yaml")); err != nil {
		return fmt.Errorf("this runs in scripts/packages of the repository: go run -C scripts/packages . (%w)", err)
	}
	if !filepath.IsAbs(p.out) {
		p.out = filepath.Join(p.root, p.out)
	}
	if err := os.MkdirAll(p.out, 0o755); err != nil {
		return err
	}
	if p.at, err = p.epoch(); err != nil {
		return err
	}
	if p.work, err = os.MkdirTemp("", "neko-packages"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(p.work)) }()

	// Manual pages and completions are said by nekoctl itself, one that runs here.
	native := filepath.Join(p.work, "nekoctl")
	if err := p.run(p.root, []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", p.ldflags, "-o", native, "./cmd/nekoctl"); err != nil {
		return err
	}
	for _, arch := range p.archs {
		release, err := p.release(arch, native)
		if err != nil {
			return err
		}
		if err := p.tarball(release); err != nil {
			return err
		}
		// The packages have in them what the release installs.
		stage := filepath.Join(p.work, "stage-"+arch)
		if err := p.run(release, nil, "./install.sh", "--quiet", "--destdir", stage, "--prefix", "/usr"); err != nil {
			return err
		}
		if err := p.documents(stage, filepath.Join(release, thirdParties)); err != nil {
			return err
		}
		for _, format := range []string{"deb", "rpm"} {
			if err := p.pack(format, arch, stage); err != nil {
				return fmt.Errorf("the %s for %s: %w", format, arch, err)
			}
		}
	}
	return p.sums()
}

// epoch is the time that everything has.
func (p *packages) epoch() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		git := exec.Command("git", "log", "-1", "--format=%ct")
		git.Dir = p.root
		out, err := git.Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("git does not say of when the commit is (%w): set SOURCE_DATE_EPOCH", err)
		}
		text = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is to be seconds since 1970: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

func (p *packages) run(dir string, env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	cmd.Env = append(append(os.Environ(), "GOWORK=off"), env...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// release makes the folder that the tarball has in it.
func (p *packages) release(arch, native string) (string, error) {
	dir := filepath.Join(p.work, fmt.Sprintf("neko-%s-linux-%s", packageVersion(p.version), arch))
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	if err := p.run(p.root, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch}, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", p.ldflags,
		"-o", bin+"/", "./cmd/nekoctl", "./cmd/neko-api"); err != nil {
		return "", err
	}
	if err := p.run(dir, nil, native, "--quiet", "man", filepath.Join(dir, "man")); err != nil {
		return "", err
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := exec.Command(native, "completion", shell).Output()
		if err != nil {
			return "", fmt.Errorf("nekoctl completion %s: %w", shell, err)
		}
		if err := write(filepath.Join(dir, "completions", "nekoctl."+shell), text); err != nil {
			return "", err
		}
	}
	for from, to := range map[string]string{
		"scripts/install.sh": "install.sh", "scripts/packages/upgrade-running": "upgrade-running", "LICENSE": "LICENSE", "CHANGELOG.md": "CHANGELOG.md",
		"configs/neko.example.yaml": "configs/neko.example.yaml", "configs/systemd": "configs/systemd", "configs/etc": "configs/etc",
	} {
		if err := copyTree(filepath.Join(p.root, from), filepath.Join(dir, to)); err != nil {
			return "", err
		}
	}
	// The terms of everything that is in the programs and is not ours: most of these licenses ask for their text to go
	// along with the binary.
	return dir, p.run(filepath.Join(p.root, "scripts/licenses"), []string{"GOFLAGS=-mod=readonly"}, "go", "run", ".", "-root", p.root,
		"-notices", filepath.Join(dir, thirdParties), filepath.Join(bin, "nekoctl"), filepath.Join(bin, "neko-api"))
}

const thirdParties = "THIRD-PARTY-LICENSES"

// documents compresses what Debian and Fedora have compressed, and makes what only packages have.
func (p *packages) documents(stage, termsFile string) error {
	terms, err := os.ReadFile(termsFile)
	if err != nil {
		return err
	}
	pages, err := filepath.Glob(filepath.Join(stage, "usr/share/man/man1/*.1"))
	if err != nil {
		return err
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		if err := writeCompressed(page+".gz", text); err != nil {
			return err
		}
		if err := os.Remove(page); err != nil {
			return err
		}
	}
	license, err := os.ReadFile(filepath.Join(p.root, "LICENSE"))
	if err != nil {
		return err
	}
	changes, err := os.ReadFile(filepath.Join(p.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	config, err := p.config("")
	if err != nil {
		return err
	}
	overrides, err := os.ReadFile("deb/lintian-overrides")
	if err != nil {
		return err
	}
	made := filepath.Join(stage, "made")
	return errors.Join(
		write(filepath.Join(made, "lintian-overrides"), overrides),
		write(filepath.Join(made, "copyright"), copyright(license)),
		writeCompressed(filepath.Join(made, "changelog.Debian.gz"), debianChangelog(packageVersion(p.version), config.Maintainer, p.at)),
		writeCompressed(filepath.Join(made, "CHANGELOG.md.gz"), changes),
		writeCompressed(filepath.Join(made, "THIRD-PARTY-LICENSES.gz"), terms))
}

func (p *packages) config(arch string) (nfpm.Config, error) {
	return nfpm.ParseFileWithEnvMapping("nfpm.yaml", func(name string) string {
		return map[string]string{"VERSION": packageVersion(p.version), "ARCH": arch}[name]
	})
}

// pack makes a deb or an rpm.
func (p *packages) pack(format, arch, stage string) error {
	config, err := p.config(arch)
	if err != nil {
		return err
	}
	info, err := config.Get(format)
	if err != nil {
		return err
	}
	info.MTime = p.at
	for _, content := range info.Contents {
		if content.Source != "" {
			content.Source = filepath.Join(stage, content.Source)
		}
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	info = nfpm.WithDefaults(info)
	if err := nfpm.Validate(info); err != nil {
		return err
	}
	var b bytes.Buffer
	name := packager.ConventionalFileName(info)
	if err := packager.Package(info, &b); err != nil {
		return err
	}
	return p.finish(name, b.Bytes())
}

// tarball packs a folder, files in the order of their names, all root's.
func (p *packages) tarball(dir string) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(filepath.Dir(dir), path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		header := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: p.at, Uname: "root", Gname: "root", Format: tar.FormatUSTAR}
		if d.IsDir() {
			header.Typeflag, header.Name = tar.TypeDir, name+"/"
			return w.WriteHeader(header)
		}
		header.Typeflag, header.Size = tar.TypeReg, info.Size()
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(w, file)
		return err
	})
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		return err
	}
	return p.finish(filepath.Base(dir)+".tar.gz", b.Bytes())
}

func (p *packages) finish(name string, data []byte) error {
	p.made = append(p.made, name)
	fmt.Printf("%s  %.1f MB\n", name, float64(len(data))/1e6)
	return write(filepath.Join(p.out, name), data)
}

// sums writes what sha256sum -c reads.
func (p *packages) sums() error {
	var b bytes.Buffer
	slices.Sort(p.made)
	for _, name := range p.made {
		data, err := os.ReadFile(filepath.Join(p.out, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(data), name)
	}
	return write(filepath.Join(p.out, "SHA256SUMS"), b.Bytes())
}

func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func writeCompressed(path string, data []byte) error {
	data, err := compressed(data)
	if err != nil {
		return err
	}
	return write(path, data)
}

// copyTree copies a file or a folder. Files are 0644, or 0755 where they can be run, whatever the umask was when they were checked out.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := write(target, data); err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		return os.Chmod(target, mode)
	})
}
