package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nekoctl/neko/supervisor/spec"
)

// specFiles are looked for in the working directory, in this order.
var specFiles = []string{"neko.yaml", "ecosystem.config.js", "ecosystem.config.cjs", "ecosystem.config.mjs",
	"ecosystem.config.json", "ecosystem.config.yaml"}

func fileHere() string {
	for _, name := range specFiles {
		if exists(name) {
			return name
		}
	}
	return ""
}

// isSpecFile tells a file of apps from a program and from the name of an app.
func isSpecFile(arg string) bool {
	switch filepath.Ext(arg) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return isScriptedSpec(arg)
}

// isScriptedSpec tells PM2's files that are programs.
func isScriptedSpec(file string) bool {
	base := filepath.Base(file)
	for _, ext := range []string{".config.js", ".config.cjs", ".config.mjs"} {
		if strings.HasSuffix(base, ext) {
			return true
		}
	}
	return false
}

// options are for reading what is to be started now.
func (c *cli) options() spec.Options {
	return spec.Options{
		Environ:     os.Environ(),
		NodeVersion: nodeVersions(),
		Note:        func(text string) { c.note("%s", text) },
	}
}

// nodeVersions asks each node for its version once.
func nodeVersions() func(node string) string {
	known := map[string]string{}
	return func(node string) string {
		version, asked := known[node]
		if !asked {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			out, _ := exec.CommandContext(ctx, node, "--version").Output() // who does not answer is of no known version
			version = string(out)
			known[node] = version
		}
		return version
	}
}

func readSpec(file string, opts spec.Options) ([]spec.App, error) {
	if isScriptedSpec(file) {
		return nil, failed("write its apps down in a neko.yaml", "%s: files in JavaScript cannot be read yet", file)
	}
	return spec.Read(file, opts)
}
