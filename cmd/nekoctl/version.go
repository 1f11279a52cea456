package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is set by the linker for a release: -ldflags "-X main.Version=v1.2.3".
var Version string

func version() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

const versionHelp = `Print the version of this nekoctl. The daemon may be of another one: see ping.

Usage:
    nekoctl version

Example:
    $ nekoctl version
    nekoctl v1.0.0
`

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:  "version",
		Long: versionHelp,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(c.out, "nekoctl", version())
			return err
		},
	}
}
