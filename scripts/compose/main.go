// Compose reads a compose file as Docker's compose does, by the same library, and prints what it comes to as JSON, or
// says what is wrong with it: what `docker compose config` does, without Docker.
//
//	go run . ../../compose.yaml mongodb     # a file, and profiles
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("name a compose file, and profiles behind it")
	}
	options, err := cli.NewProjectOptions(args[:1], cli.WithProfiles(args[1:]), cli.WithEnv(os.Environ()), cli.WithInterpolation(true), cli.WithResolvedPaths(false), cli.WithConsistency(true))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(project)
}
