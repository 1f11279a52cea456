// Image builds the container image of neko without a container engine: from scratch, for several architectures, the
// same bits from the same sources. `make image` is the command for it; the Dockerfile takes its files from here.
//
//	go run . -version 1.0.0 -revision $(git rev-parse HEAD) -o ../../dist     # SOURCE_DATE_EPOCH is its time
//	go run . -version 1.0.0 -platforms linux/arm64 -tree /root-fs             # the files alone, in a folder
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	flags.StringVar(&o.describe, "version", "devel", "what git describe says: a tag like v1.0.0, or something longer")
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
	created, err := epoch()
	if err != nil {
		return err
	}
	if o.root, err = filepath.Abs(o.root); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "neko-image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	r := release{Version: tag(o.describe), Revision: o.revision, Created: created}
	from := sources{root: o.root, scratch: scratch, version: o.describe, toolchain: toolchain}
	if o.binaries != "" {
		from.toolchain = "" // nothing is compiled that is to be the same bits
	}
	if o.tree != "" {
		if len(archs) != 1 {
			return errors.New("-tree is of one platform: say which, by -platforms")
		}
		parts, err := from.parts(archs[0], o.binaries, r.Version, "")
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
	return o.archive(r, from, archs)
}

// parts are the layers for an architecture. The bill of materials goes to the file bill, if that is not "".
func (s sources) parts(arch, binaries, version, bill string) (layers, error) {
	var err error
	if binaries == "" {
		if binaries, err = s.compile(arch); err != nil {
			return nil, err
		}
	}
	licences, err := s.bill(binaries, version, bill)
	if err != nil {
		return nil, err
	}
	root, err := s.goRoot()
	if err != nil {
		return nil, err
	}
	below, err := ground(filepath.Join(root, "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return nil, err
	}
	nekoctl, api, err := programs(binaries, licences)
	return layers{{"folders, certificates of authorities, time zones", below}, {"nekoctl, licences", nekoctl}, {"neko-api", api}}, err
}

func (o options) archive(r release, from sources, archs []string) error {
	out, err := filepath.Abs(o.out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	ref, err := name.NewTag(o.repository + ":" + r.Version)
	if err != nil {
		return err
	}
	stem := filepath.Join(out, "neko-"+r.Version)
	var images []v1.Image
	for _, arch := range archs {
		parts, err := from.parts(arch, o.binaries, r.Version, stem+"-image-linux-"+arch+".cdx.json")
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
	if err := writeOCI(path, from.scratch, ref, r.Version, all); err != nil {
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

// epoch is SOURCE_DATE_EPOCH (reproducible-builds.org), and 1970 without it: never the time of a clock.
func epoch() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

var released = regexp.MustCompile(`^v?[0-9]+\.[0-9]+\.[0-9]+`)

// tag is a version as packages and tags have it: 1.0.0 of v1.0.0; of what is no version 0.0.0-git and the rest, as
// a tag may not have Debian's ~.
func tag(describe string) string {
	version := "0.0.0-git" + describe
	if released.MatchString(describe) {
		version = strings.TrimPrefix(describe, "v")
	}
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c) {
			return c
		}
		return '-'
	}, version)
}
