package main

import (
	"os"

	"github.com/nekoctl/neko/supervisor"
	"github.com/nekoctl/neko/supervisor/keeper"
)

// modes are the hidden first arguments with which the binary starts itself.
var modes = map[string]func() int{
	keeper.Mode:             func() int { return keeper.Main(version()) },
	keeper.MasterMode:       func() int { return supervisor.Main(version()) },
	supervisor.CheckMode:    func() int { return supervisor.CheckMain(version()) },
	supervisor.CompressMode: func() int { return supervisor.CompressMain(os.Args[2:]) },
	supervisor.ExecMode:     func() int { return supervisor.ExecMain(os.Args[2:]) },
}
