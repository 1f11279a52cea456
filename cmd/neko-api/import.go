package main

import (
	"errors"

	"github.com/nekoctl/neko/api/stix"
)

// importBundle loads a bundle into the store. A signal ends it, and the store is
// as it was then.
func importBundle(o *options, args []string, s streams) error {
	ctx, stop := untilSignal()
	defer stop()
	st, err := openStore(ctx, o)
	if err != nil {
		return err
	}
	defer st.Close()
	err = stix.Command(ctx, st, args[0], stix.Streams{In: s.in, Out: s.out, Err: s.err})
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: nothing was imported")
	}
	return err
}
