// Command nekoctl starts, watches and replaces the processes of servers.
//
// The same binary is the command line, the keeper, the master and the exec shim:
// the first argument says which. Called as pm2 or pm2-runtime it is those.
package main

import (
	"os"
)

func main() {
	// The modes of the daemon come before anything that only people need.
	if len(os.Args) > 1 {
		if main := modes[os.Args[1]]; main != nil {
			os.Exit(main())
		}
	}
	if run := calledAs(os.Args[0]); run != nil {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}
