// Packages makes what is given away of a release, for Linux on amd64 and arm64: a deb, an rpm, and a tarball with
// install.sh, the bill of materials of the programs in them, and SHA256SUMS. The same commit gives the same bits,
// wherever and whenever it is made: all times are $SOURCE_DATE_EPOCH, or that of the commit.
//
//	make packages
//	go run -C scripts/packages . -version 1.0.0 -out dist [-arch amd64]
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
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	_ "github.com/goreleaser/nfpm/v2/rpm"

	"github.com/nekoctl/neko/scripts/release"
)

// notices is the file with the terms of everything that is in the programs and is not ours: most of these licenses ask
// for their text to go along with the binary.
const notices = "THIRD_PARTY_NOTICES"

func main() {
	var p packages
	arch := flag.String("arch", "amd64,arm64", "for which machines")
	describe := flag.String("version", "devel", "their version, or what git describe says of it")
	flag.StringVar(&p.out, "out", "dist", "the folder for the files, below the repository's if it is relative")
	flag.Parse()
	p.Version, p.Toolchain, p.archs = release.Version(*describe), release.Toolchain, strings.Split(*arch, ",")
	syscall.Umask(0o022) // modes of files are bits of the packages, too
	if err := p.make(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

type packages struct {
	release.Sources
	archs []string
	out   string
	work  string // a folder that is gone in the end
	at    time.Time
	made  []string // names in out
}

func (p *packages) make() (err error) {
	if p.Root, err = filepath.Abs("../.."); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(p.Root, "scripts/packages/nfpm.yaml")); err != nil {
		return fmt.Errorf("this runs in scripts/packages of the repository: go run -C scripts/packages . (%w)", err)
	}
	if !filepath.IsAbs(p.out) {
		p.out = filepath.Join(p.Root, p.out)
	}
	if err := os.MkdirAll(p.out, 0o755); err != nil {
		return err
	}
	if p.at, err = p.Epoch(); err != nil {
		return err
	}
	if p.work, err = os.MkdirTemp("", "neko-packages"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(p.work)) }()

	// Manual pages and completions are said by nekoctl itself, one that runs here.
	if err := p.Compile(runtime.GOARCH, p.work); err != nil {
		return err
	}
	for _, arch := range p.archs {
		folder, err := p.folder(arch, filepath.Join(p.work, "nekoctl"))
		if err != nil {
			return err
		}
		if err := p.tarball(folder); err != nil {
			return err
		}
		// The packages have in them what the release installs.
		stage := filepath.Join(p.work, "stage-"+arch)
		if err := run(folder, "./install.sh", "--quiet", "--destdir", stage, "--prefix", "/usr"); err != nil {
			return err
		}
		if err := p.documents(stage, folder); err != nil {
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

func run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// folder makes the one that the tarball has in it, and the bill of materials of its programs.
func (p *packages) folder(arch, native string) (string, error) {
	name := fmt.Sprintf("neko-%s-linux-%s", p.Version, arch)
	dir := filepath.Join(p.work, name)
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	if err := p.Compile(arch, bin); err != nil {
		return "", err
	}
	bill := name + ".cdx.json"
	if err := p.Licenses(bin, "-notices", filepath.Join(dir, notices), "-sbom", filepath.Join(p.out, bill)); err != nil {
		return "", err
	}
	p.made = append(p.made, bill)
	if err := run(dir, native, "--quiet", "man", filepath.Join(dir, "man")); err != nil {
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
		if err := copyTree(filepath.Join(p.Root, from), filepath.Join(dir, to)); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// documents compresses what Debian and Fedora have compressed, and makes what only packages have.
func (p *packages) documents(stage, folder string) error {
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
	license, err := os.ReadFile(filepath.Join(p.Root, "LICENSE"))
	if err != nil {
		return err
	}
	changes, err := os.ReadFile(filepath.Join(p.Root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	terms, err := os.ReadFile(filepath.Join(folder, notices))
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
		writeCompressed(filepath.Join(made, "changelog.Debian.gz"), debianChangelog(p.Version, config.Maintainer, p.at)),
		writeCompressed(filepath.Join(made, "CHANGELOG.md.gz"), changes),
		writeCompressed(filepath.Join(made, "THIRD_PARTY_NOTICES.gz"), terms))
}

func (p *packages) config(arch string) (nfpm.Config, error) {
	return nfpm.ParseFileWithEnvMapping("nfpm.yaml", func(name string) string {
		return map[string]string{"VERSION": p.Version, "ARCH": arch}[name]
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
