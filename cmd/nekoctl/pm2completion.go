package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completionTree is PM2's commands for the completion of a shell, which asks by
// __complete as it asks nekoctl.
func completionTree(f *face) *cobra.Command {
	root := &cobra.Command{Use: "pm2", SilenceErrors: true, SilenceUsage: true}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	addOptions(root.PersistentFlags(), pm2Options)
	for _, c := range pm2Commands() {
		if strings.HasPrefix(c.about, "not here") {
			continue
		}
		cmd := &cobra.Command{Use: c.name, Short: c.about, Aliases: c.aliases, Run: func(*cobra.Command, []string) {}}
		addOptions(cmd.Flags(), c.options)
		switch {
		case c.name == "start":
			// a script, a file of apps, or what is known already
			cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
				names, _ := f.completeTitles(cmd, args, typed)
				return names, cobra.ShellCompDirectiveDefault
			}
		case strings.Contains(c.args, "name") || strings.Contains(c.args, "id"):
			cmd.ValidArgsFunction = f.completeTitles
		}
		root.AddCommand(cmd)
	}
	return root
}

func addOptions(flags *pflag.FlagSet, options []pm2Option) {
	for _, o := range options {
		short, long := o.names()
		long, short = strings.TrimPrefix(long, "--"), strings.TrimPrefix(short, "-")
		if flags.Lookup(long) != nil || long == "help" {
			continue
		}
		if short != "" && flags.ShorthandLookup(short) != nil {
			short = ""
		}
		if o.required() || o.optional() {
			flags.StringP(long, short, "", o.about)
		} else {
			flags.BoolP(long, short, false, o.about)
		}
	}
}

// completeTitles offers what runs, by PM2's names.
func (f *face) completeTitles(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	if err := f.settle(); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	list, err := f.client.Processes(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	seen := map[string]bool{}
	offered := []string{"all"}
	for _, p := range list {
		for _, name := range []string{p.ShownName(), p.Namespace} {
			if name != "" && name != "default" && !seen[name] {
				seen[name] = true
				offered = append(offered, name)
			}
		}
	}
	return offered, cobra.ShellCompDirectiveNoFileComp
}

// complete answers a shell's question.
func (f *face) complete(args []string) error {
	root := completionTree(f)
	root.SetArgs(args)
	root.SetOut(f.out)
	root.SetErr(io.Discard)
	return root.Execute()
}

const completionMark = "# completion of pm2, by nekoctl"

// completion prints the script for a shell, or has it read by the shell from now on.
func (f *face) completion(context.Context) error {
	what := ""
	if len(f.line.words) > 0 {
		what = f.line.words[0]
	}
	shell := filepath.Base(os.Getenv("SHELL"))
	switch what {
	case "":
	case "install", "uninstall":
		return f.installCompletion(shell, what == "install")
	default:
		shell = what
	}
	root := completionTree(f)
	switch shell {
	case "zsh":
		return root.GenZshCompletionNoDesc(f.out)
	case "fish":
		return root.GenFishCompletion(f.out, false)
	case "bash", "sh", "dash", "":
		return root.GenBashCompletionV2(f.out, false)
	}
	return failed("pm2 completion bash, or zsh, or fish", "there is no completion for %s", quote(shell))
}

// installCompletion adds a line to the file that the shell reads at its start, or
// takes it out.
func (f *face) installCompletion(shell string, install bool) error {
	rc := map[string]string{"bash": ".bashrc", "zsh": ".zshrc"}[shell]
	if rc == "" {
		return failed("pm2 completion fish > ~/.config/fish/completions/pm2.fish", "install knows bash and zsh, and SHELL is %s", quote(shell))
	}
	path := filepath.Join(os.Getenv("HOME"), rc)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return failed("nothing was changed", "%v", err)
	}
	var lines [][]byte
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(completionMark)) {
			lines = append(lines, line)
		}
	}
	next := bytes.Join(lines, nil)
	if install {
		if len(next) > 0 && !bytes.HasSuffix(next, []byte("\n")) {
			next = append(next, '\n')
		}
		next = fmt.Appendf(next, "source <(pm2 completion %s) %s\n", shell, completionMark)
	}
	// In place: it may be a link, and its mode is its owner's.
	if err := os.WriteFile(path, next, 0o644); err != nil {
		return failed("", "%v", err)
	}
	if install {
		f.ok("%s completion installed in %s", shell, path)
	} else {
		f.ok("%s completion removed from %s", shell, path)
	}
	return nil
}
