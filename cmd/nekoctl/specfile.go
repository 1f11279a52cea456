package main

import (
	"path/filepath"
	"strings"

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

func readSpec(file string, opts spec.Options) ([]spec.App, error) {
	if isScriptedSpec(file) {
		return nil, failed("write its apps down in a neko.yaml", "%s: files in JavaScript cannot be read yet", file)
	}
	return spec.Read(file, opts)
}
