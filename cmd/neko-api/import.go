package main

import (
	"errors"
	"fmt"

	"github.com/nekoctl/neko/api/stix"
	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/logtext"
)

// importBundle loads a bundle into the store. A signal ends it, and the store is
// as it was then; but a MongoDB, if it was being written, has a mix of old and new.
func importBundle(o *options, args []string, s streams) error {
	ctx, stop := untilSignal()
	defer stop()
	st, err := openStore(ctx, o)
	if err != nil {
		return err
	}
	defer st.Close()
	err = stix.Command(ctx, st, args[0], stix.Streams{In: s.in, Out: s.out, Err: s.err, Quiet: o.quiet})
	// Whatever has become of it, the log of the store says what has changed.
	if _, e := tellRedis(ctx, o, st, logtext.Logger(s.err)); e != nil {
		fmt.Fprintf(s.err, "warning: Redis could not be told what has changed: %v\n", e)
		fmt.Fprintf(s.err, "hint: nothing needs to be done: workers read it in the store within %v, and tell Redis as soon as it answers\n", followServer)
	}
	if partial := (*store.PartialError)(nil); err != nil && ctx.Err() != nil && !errors.As(err, &partial) {
		return errors.New("interrupted: nothing was imported")
	}
	return err
}
