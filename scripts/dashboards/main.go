// Dashboards writes configs/grafana/*.json, the dashboards of neko for Grafana 11 and later, from tables of panels:
// overview.go, api.go, runtime.go.
//
//	go run ./scripts/dashboards configs/grafana
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./scripts/dashboards FOLDER")
		os.Exit(2)
	}
	for _, d := range all {
		text, err := d.json()
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[1], d.file()), text, 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
	}
}

var all = []dashboard{overview, api, runtime}
