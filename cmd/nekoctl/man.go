package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

const manHelp = `Write the manual pages into a folder: one for nekoctl, one for each command, and
one for pm2, as nekoctl is when it is called so. They are made of the help.

Usage:
    nekoctl man FOLDER

Examples:
    # nekoctl man /usr/local/share/man/man1
    $ man nekoctl-start
`

func (c *cli) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:  "man",
		Long: manHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misuse("man", "man takes the folder that the pages go to")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return failed("", "%v", err)
			}
			pages := manPages(cmd.Root())
			for name, text := range pages {
				if err := os.WriteFile(filepath.Join(args[0], name+".1"), []byte(text), 0o644); err != nil {
					return failed("", "%v", err)
				}
			}
			c.say("wrote %s into %s", count(len(pages), "page"), args[0])
			return nil
		},
	}
}

// manPages are the pages by their names.
func manPages(root *cobra.Command) map[string]string {
	pages := map[string]string{
		root.Name(): manPage(root.Name(), rootHelp+"\n"+environmentHelp+"\n"+exitCodesHelp),
		"pm2":       manPage("pm2", "nekoctl in the words of PM2: its commands, its files, its output.\n"+pm2Help()),
	}
	for _, cmd := range root.Commands() {
		name := root.Name() + "-" + cmd.Name()
		pages[name] = manPage(name, cmd.Long)
	}
	return pages
}

// manPage makes a page in the macros of man(7) of a help: its first sentence is the
// name, a line such as "Options:" begins a section, and what is indented stays as it
// is.
func manPage(name, help string) string {
	var b strings.Builder
	summary, _, _ := strings.Cut(strings.Join(strings.Fields(help), " "), ". ")
	summary = strings.TrimSuffix(summary, ".")
	if i := strings.Index(summary, " Usage:"); i > 0 {
		summary = summary[:i]
	}
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"neko %s\" \"neko\"\n", strings.ToUpper(name), version())
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n.SH DESCRIPTION\n", name, roff(summary))
	literal := false
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, "\n")
		title := strings.TrimSpace(line)
		indented := strings.HasPrefix(line, " ")
		section := strings.HasSuffix(line, ":") && !indented && !strings.Contains(line, ". ") && len(line) < 40 ||
			indented && (title == "Options:" || title == "Commands:")
		switch {
		case section:
			if literal {
				b.WriteString(".fi\n")
			}
			literal = false
			fmt.Fprintf(&b, ".SH %s\n", roff(strings.ToUpper(strings.TrimSuffix(title, ":"))))
			continue
		case indented && !literal:
			b.WriteString(".nf\n")
			literal = true
		case !indented && line != "" && literal:
			b.WriteString(".fi\n")
			literal = false
		}
		if line == "" {
			b.WriteString(".PP\n")
			continue
		}
		b.WriteString(roff(line) + "\n")
	}
	if literal {
		b.WriteString(".fi\n")
	}
	if name != "nekoctl" {
		b.WriteString(".SH SEE ALSO\n.BR nekoctl (1)\n")
	}
	return b.String()
}

// roff keeps a line from being taken for a request.
func roff(line string) string {
	line = strings.ReplaceAll(line, `\`, `\e`)
	line = strings.ReplaceAll(line, "-", `\-`)
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line
	}
	var b strings.Builder
	for _, r := range line {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}
