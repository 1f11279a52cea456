package main

import (
	"github.com/nekoctl/neko/supervisor/keeper"
)

// modes are the hidden first arguments with which the binary starts itself.
var modes = map[string]func() int{
	keeper.Mode: keeper.Main,
	// LEAD: supervisor.MasterMode and supervisor.ExecMode go here.
}
