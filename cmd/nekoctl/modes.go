package main

import (
	"os"

	"github.com/nekoctl/neko/supervisor"
	"github.com/nekoctl/neko/supervisor/keeper"
)

// modes are the hidden first arguments with which the binary starts itself.
var modes = map[string]func() int{
	keeper.Mode:             named(keeper.Main),
	keeper.MasterMode:       named(supervisor.Main),
	supervisor.CheckMode:    func() int { return supervisor.CheckMain(version()) },
	supervisor.CompressMode: func() int { return supervisor.CompressMain(os.Args[2:]) },
	supervisor.ExecMode:     func() int { return supervisor.ExecMain(os.Args[2:]) },
}

// named is a mode under the name that top, pgrep and our own errors show: it was run as
// /proc/self/exe, or after an upgrade by its descriptor, and would be called exe, or 53.
func named(mode func(version string) int) func() int {
	return func() int {
		_ = os.WriteFile("/proc/self/comm", []byte("nekoctl"), 0) // it is only a name
		return mode(version())
	}
}
