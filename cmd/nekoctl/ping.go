package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

const pingHelp = `Say who runs: the pids of keeper and master, and the version of the daemon.
Fails if no daemon runs.

Usage:
    nekoctl ping [--json]

Options:
    --json  print JSON: version, keeper, keeper_version, master, home,
            metrics, upgrading, upgrade_failed, warnings

Examples:
    $ nekoctl ping
    neko v1.0.0 runs on /home/me/.neko: keeper 4711, master 4712
    $ nekoctl ping --json | jq .master
    4712
`

func (c *cli) pingCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:  "ping",
		Long: pingHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			p, err := client.Ping(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return c.json(p)
			}
			fmt.Fprintf(c.out, "neko %s runs on %s: keeper %d, master %d\n", p.Version, p.Home, p.Keeper, p.Master)
			if p.Metrics != "" {
				fmt.Fprintf(c.out, "metrics: http://%s/metrics\n", p.Metrics)
			}
			if p.UpgradeFailed != "" {
				p.Warnings = append(p.Warnings, p.UpgradeFailed)
			}
			for _, w := range p.Warnings {
				c.warn("%s", w)
			}
			if p.Version != version() && !c.quiet {
				c.hint("this nekoctl is %s", version())
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "")
	return cmd
}

func (c *cli) json(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
