package main

import (
	"os"

	"github.com/nekoctl/neko/supervisor"
	"github.com/nekoctl/neko/supervisor/keeper"
)

// modes are the hidden first arguments with which the binary starts itself.
var modes = map[string]func() int{
	keeper.Mode:         keeper.Main,
	keeper.MasterMode:   func() int { return supervisor.Main(version()) },
	supervisor.ExecMode: func() int { return supervisor.ExecMain(os.Args[2:]) },
}
