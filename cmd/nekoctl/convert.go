package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/pm2/ecosystem"
	"github.com/nekoctl/neko/supervisor/spec"
)

const convertHelp = `Write a neko.yaml that starts the same apps as a process file of PM2's.

Usage:
    nekoctl convert [OPTIONS] FILE

Options:
    -o, --output FILE   write to this file, which must not be there yet; to
                        standard output if not given
    -f, --force         the file may be there
        --env NAME      env_NAME is put over env
        --only NAMES    only these of its apps: web,api

What a neko.yaml cannot say is named, and is a comment in it. Relative paths
mean the same if the neko.yaml is beside the FILE.

Examples:
    $ nekoctl convert ecosystem.config.js
    $ nekoctl convert ecosystem.config.js --env production -o neko.yaml
`

func (c *cli) convertCommand() *cobra.Command {
	var (
		f      fileFlags
		output string
		force  bool
	)
	cmd := &cobra.Command{
		Use:  "convert",
		Long: convertHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misuse("convert", "convert takes one file")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if filepath.Base(args[0]) == "neko.yaml" {
				return failed("it is for files of PM2's", "%s is a neko.yaml already", args[0])
			}
			o, err := c.ecosystemOptions(f, spec.Options{})
			if err != nil {
				return err
			}
			o.Only = f.only
			configs, err := ecosystem.Load(cmd.Context(), args[0], o)
			if err != nil {
				return unevaluated(err)
			}
			if len(configs) == 0 {
				return failed("--only takes names of its apps", "%s has no such app", args[0])
			}
			text, notes, err := ecosystem.Convert(configs, o)
			if err != nil {
				return err
			}
			for _, note := range notes {
				c.warn("%s", note)
			}
			if output == "" || output == "-" {
				_, err := c.out.Write(text)
				return err
			}
			if err := writeNew(output, text, force); err != nil {
				return err
			}
			c.say("wrote %s to %s", count(len(configs), "app"), output)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&output, "output", "o", "", "")
	flags.BoolVarP(&force, "force", "f", false, "")
	flags.StringVar(&f.env, "env", "", "")
	flags.StringSliceVar(&f.only, "only", nil, "")
	return cmd
}

// writeNew writes a file, that replaces another only if it may. It may hold secrets, as
// the file that it was made of.
func writeNew(path string, text []byte, replace bool) error {
	mode := os.O_EXCL
	if replace {
		mode = os.O_TRUNC
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|mode, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return failed("nekoctl convert --force replaces it", "%s is there already", path)
	}
	if err != nil {
		return failed("", "cannot write: %v", err)
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}
