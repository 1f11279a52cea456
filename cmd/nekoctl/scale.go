package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

const scaleHelp = `Change the number of processes of an app. New ones take connections when they
are ready; those that go finish what they serve.

Usage:
    nekoctl scale NAME N | +N | -N | max

max is one process for each CPU.

Examples:
    $ nekoctl scale web 4
    $ nekoctl scale web +1
    $ nekoctl scale web -1
`

func (c *cli) scaleCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "scale",
		Long:              scaleHelp,
		ValidArgsFunction: c.completeNames,
		// "-1" is a number here, not a flag.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			var words []string
			for i, arg := range args {
				switch {
				case arg == "-h" || arg == "--help":
					return cmd.Help()
				case arg == "-q" || arg == "--quiet":
					c.quiet = true
				case strings.HasPrefix(arg, "-") && !(i > 0 && isNumber(arg[1:])) && arg != "--":
					return misuse("scale", "unknown flag: %s", arg)
				case arg != "--":
					words = append(words, arg)
				}
			}
			if len(words) != 2 {
				return misuse("scale", "scale takes the name of an app and a number: nekoctl scale web 2")
			}
			name, count := words[0], words[1]
			bare := count
			if strings.HasPrefix(count, "+") || strings.HasPrefix(count, "-") {
				bare = count[1:]
			}
			n, err := spec.ParseInstances(bare)
			switch {
			case isNumber(bare) && (err != nil || n == 0):
				return &usageError{fmt.Sprintf("expected a number from 1 to %d, or max, not %s", spec.MaxInstances, quote(bare)), "nekoctl stop stops an app"}
			case err != nil || n <= 0 && bare != "max" || bare == "max" && bare != count:
				return misuse("scale", "expected N, +N, -N or max, not %s", quote(count))
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			_, err = c.carryOut("scaled", func(step func(control.Progress)) (control.Done, error) {
				return client.Scale(cmd.Context(), control.ScaleRequest{Name: name, Instances: count}, step)
			})
			return err
		},
	}
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
