package main

import (
	"io"
	"slices"

	"github.com/spf13/cobra"
)

const completionHelp = `Print a script that makes a shell complete commands, flags and names of apps.

Usage:
    nekoctl completion bash | zsh | fish | powershell

Examples:
    $ source <(nekoctl completion bash)     # in ~/.bashrc
    $ nekoctl completion fish > ~/.config/fish/completions/nekoctl.fish
`

func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "completion",
		Long:      completionHelp,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(cmd.ValidArgs, args[0]) {
				return misuse("completion", "for which shell? bash, zsh, fish or powershell")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			print := map[string]func(io.Writer) error{
				"bash":       func(w io.Writer) error { return root.GenBashCompletionV2(w, false) },
				"zsh":        root.GenZshCompletionNoDesc,
				"fish":       func(w io.Writer) error { return root.GenFishCompletion(w, false) },
				"powershell": root.GenPowerShellCompletion,
			}
			return print[args[0]](cmd.OutOrStdout())
		},
	}
}
