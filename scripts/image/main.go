// Image builds the container image of neko without a container engine: from scratch, for several architectures, the
// same bits from the same sources. `make image` is the command for it; the Dockerfile takes its files from here.
//
//	go run . -version 1.0.0 -revision $(git rev-parse HEAD) -o ../../dist
//	go run . -version 1.0.0 -platforms linux/arm64 -tree /root-fs             # the files alone, in a folder
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nekoctl/neko/scripts/release"
)

func main() {
	if err := command(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

type options struct {
	root, out, tree, binaries string
	repository, platforms     string
	describe, revision        string
	level                     int
}

func command(args []string) error {
	var o options
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&o.root, "root", "../..", "the repository's `FOLDER`")
	flags.StringVar(&o.out, "o", "../../dist", "the `FOLDER` for archives and bills of materials")
	flags.StringVar(&o.tree, "tree", "", "make the image's files in this `FOLDER`, and no archive")
	flags.StringVar(&o.binaries, "binaries", "", "take nekoctl and neko-api from this `FOLDER`, for tests; else they are compiled")
	flags.StringVar(&o.repository, "repository", "ghcr.io/nekoctl/neko", "the image's `NAME`, without a tag")
	flags.StringVar(&o.platforms, "platforms", "linux/amd64,linux/arm64", "which there are to be")
	flags.StringVar(&o.describe, "version", "devel", "its version, or what git describe says of it")
	flags.StringVar(&o.revision, "revision", "", "the commit")
	flags.IntVar(&o.level, "compress", 9, "gzip's `LEVEL`; 0 for tests, which have no time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	var archs []string
	for platform := range strings.SplitSeq(o.platforms, ",") {
		arch, ok := strings.CutPrefix(platform, "linux/")
		if !ok || arch != "amd64" && arch != "arm64" {
			return fmt.Errorf("-platforms %s: there are linux/amd64 and linux/arm64", platform)
		}
		archs = append(archs, arch)
	}
	root, err := filepath.Abs(o.root)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "neko-image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	from := sources{Sources: release.Sources{Root: root, Version: release.Version(o.describe), Toolchain: release.Toolchain}, scratch: scratch}
	if o.binaries != "" {
		from.Toolchain = "" // nothing is compiled that is to be the same bits
	}
	if o.tree != "" {
		// What a Dockerfile is given it also writes into the label, and it has no rules for that.
		if o.describe != from.Version {
			return fmt.Errorf("the image's label would say %s, and the image of `make image` and the packages say %s\nhint: docker build --build-arg VERSION=%[2]s", o.describe, from.Version)
		}
		if len(archs) != 1 {
			return errors.New("-tree is of one platform: say which, by -platforms")
		}
		parts, err := from.parts(archs[0], o.binaries, "")
		if err != nil {
			return err
		}
		for _, l := range parts {
			if err := lay(o.tree, l.entries); err != nil {
				return err
			}
		}
		return nil
	}
	created, err := from.Epoch()
	if err != nil {
		return err
	}
	return o.archive(described{Version: from.Version, Revision: o.revision, Created: created}, from, archs)
}

// sources are what an image is made of, and what is made on the way goes below scratch.
type sources struct {
	release.Sources
	scratch string
}

// parts are the layers for an architecture. The bill of materials goes to the file bill, if that is not "".
func (s sources) parts(arch, binaries, bill string) (layers, error) {
	if binaries == "" {
		binaries = filepath.Join(s.scratch, arch)
		if err := s.Compile(arch, binaries); err != nil {
			return nil, err
		}
	}
	notices := filepath.Join(s.scratch, "THIRD_PARTY_NOTICES-"+arch)
	args := []string{"-kind", "container", "-notices", notices}
	if bill != "" {
		beside, err := s.beside()
		if err != nil {
			return nil, err
		}
		args = append(append(args, "-sbom", bill), beside...)
	}
	if err := s.Licenses(binaries, args...); err != nil {
		return nil, err
	}
	root, err := s.GoRoot()
	if err != nil {
		return nil, err
	}
	below, err := ground(filepath.Join(root, "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return nil, err
	}
	nekoctl, api, err := programs(binaries, filepath.Join(s.Root, "LICENSE"), notices)
	return layers{{"folders, certificates of authorities, time zones", below}, {"nekoctl, licences", nekoctl}, {"neko-api", api}}, err
}

func (o options) archive(r described, from sources, archs []string) error {
	out, err := filepath.Abs(o.out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	ref, err := name.NewTag(o.repository + ":" + release.Tag(r.Version))
	if err != nil {
		return err
	}
	stem := filepath.Join(out, "neko-"+r.Version)
	var images []v1.Image
	for _, arch := range archs {
		parts, err := from.parts(arch, o.binaries, stem+"-image-linux-"+arch+".cdx.json")
		if err != nil {
			return err
		}
		image, err := r.build(arch, parts, o.level)
		if err != nil {
			return err
		}
		images = append(images, image)
		path := stem + "-image-linux-" + arch + ".docker.tar"
		if err := writeDocker(path, ref, image); err != nil {
			return err
		}
		if err := parts.report(path, image, o.level); err != nil {
			return err
		}
	}
	all, err := r.index(images)
	if err != nil {
		return err
	}
	path := stem + "-image.oci.tar"
	if err := writeOCI(path, from.scratch, ref, all); err != nil {
		return err
	}
	digest, err := all.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s\n  %s@%s\n", path, ref.Name(), digest)
	return nil
}

// most is what an image may have to be pulled, for one architecture: docs/containers.md promises it.
const most = 40_000_000

// report says how large an image is: what is pulled, and what is on the disk then.
func (l layers) report(path string, image v1.Image, level int) error {
	all, err := image.Layers()
	if err != nil {
		return err
	}
	var packed, plain int64
	for i, one := range all {
		n, err := one.Size()
		if err != nil {
			return err
		}
		packed += n
		for _, e := range l[i].entries {
			plain += int64(len(e.body))
		}
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s\n  %s, %.1f MB to pull, %.1f MB unpacked\n", path, digest, float64(packed)/1e6, float64(plain)/1e6)
	if level > 0 && packed > most {
		return fmt.Errorf("%s has %d bytes to pull, and %d is what it may have", path, packed, most)
	}
	return nil
}
