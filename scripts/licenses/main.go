// Licenses writes down what is linked into programs of this repository: the notices that its licences ask to be
// passed on, which packages and the image carry, and a bill of materials in CycloneDX, which lies beside both.
//
//	go run . -notices NOTICES -sbom neko.cdx.json -version 1.0.0 ../../bin/nekoctl ../../bin/neko-api
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// data is what lies beside the programs and is no module: NAME@VERSION=LICENCE.
type data []*part

func (d *data) String() string { return "" }

func (d *data) Set(text string) error {
	named, license, ok := strings.Cut(text, "=")
	name, version, versioned := strings.Cut(named, "@")
	if !ok || !versioned || name == "" || version == "" || license == "" {
		return errors.New("it must be NAME@VERSION=LICENCE")
	}
	*d = append(*d, &part{name: name, version: version, licenses: []string{license}, kind: files})
	return nil
}

func run(args []string) error {
	var beside data
	flags := flag.NewFlagSet("licenses", flag.ContinueOnError)
	notices := flags.String("notices", "", "write the licences and notices to this `FILE`")
	sbom := flags.String("sbom", "", "write a bill of materials to this `FILE`")
	name := flags.String("name", "neko", "what the bill is of")
	version := flags.String("version", "devel", "its version")
	kind := flags.String("kind", "application", "what it is, in CycloneDX's words: application or container")
	root := flags.String("root", "../..", "the `FOLDER` of the sources from which the programs were built")
	flags.Var(&beside, "data", "NAME@VERSION=LICENCE of data that lies beside them; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 || *notices == "" && *sbom == "" {
		return errors.New("nothing to do: name programs, and -notices FILE or -sbom FILE")
	}
	if *kind != "application" && *kind != "container" {
		return fmt.Errorf("-kind %s: it must be application or container", *kind)
	}
	var programs []*program
	for _, path := range flags.Args() {
		p, err := readProgram(*root, path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		programs = append(programs, p)
	}
	own, err := os.ReadFile(filepath.Join(*root, "LICENSE"))
	if err != nil {
		return err
	}
	parts := together(programs)
	if err := classify(append(parts, beside...)); err != nil {
		return err
	}
	if *notices != "" {
		if err := os.WriteFile(*notices, noticesOf(own, parts), 0o644); err != nil {
			return err
		}
	}
	if *sbom == "" {
		return nil
	}
	bill, err := billOf(*name, *version, *kind, programs, parts, beside)
	if err != nil {
		return err
	}
	return os.WriteFile(*sbom, bill, 0o644)
}
