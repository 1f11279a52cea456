package stix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nekoctl/neko/api/store"
)

// Streams are the standard streams of [Command].
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Quiet    bool // neither progress nor a summary
}

// Command is `neko-api import ARG`: it imports the file ARG, or standard input if
// it is "-", shows on Err how it gets on if it takes a while, and writes a summary to
// Out.
// Errors are complete sentences without "error:"; those that have advice have a
// method Hint() string.
func Command(ctx context.Context, st store.Store, arg string, s Streams) error {
	opts := Options{Name: arg}
	in := s.In
	if arg == "-" {
		opts.Name = "standard input"
		if isTerminal(s.In) {
			return &usageError{"standard input is a terminal", "give a file, or pipe a bundle in: neko-api import - < bundle.json"}
		}
	} else {
		f, err := os.Open(arg)
		if err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return &usageError{fmt.Sprintf("cannot read %s: %v", arg, err), "give the path of a STIX bundle, or - for standard input"}
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return &usageError{arg + " is a folder", "give the path of a STIX bundle in it"}
		}
		in, opts.Name = f, filepath.Base(arg)
	}
	var p *progress
	if !s.Quiet {
		p = begin(s.Err, opts.Name)
		opts.Progress = p.report
		if arg == "-" && !isFile(in) {
			in = sender{in, p.received}
		}
	}
	sum, err := Import(ctx, st, in, opts)
	if p != nil {
		p.end()
	}
	partial := (*store.PartialError)(nil)
	switch {
	case errors.As(err, &partial):
		return err
	case errors.Is(err, errSpool):
		return &usageError{fmt.Sprintf("cannot import %s: %v", opts.Name, err), "nothing was imported; TMPDIR names the folder for it, which needs room for the whole bundle"}
	case errors.Is(err, store.ErrUnavailable):
		return &usageError{fmt.Sprintf("cannot import %s: %v", opts.Name, err), "nothing was imported; see whether the store is up and its disk has room, and try again"}
	case err != nil:
		return err
	}
	if !s.Quiet {
		sum.Write(s.Out, opts.Name)
	}
	return nil
}

type usageError struct{ what, hint string }

func (e *usageError) Error() string { return e.what }
func (e *usageError) Hint() string  { return e.hint }

// Hint is what to do about it, for the line below the error.
func (e *Error) Hint() string {
	return "nothing was imported; bundles of ATT&CK are at https://github.com/mitre-attack/attack-stix-data"
}

// Write writes the summary for people.
func (s *Summary) Write(w io.Writer, name string) {
	fmt.Fprintf(w, "%s: %s in %v\n", name, plural(s.Objects, "object"), s.Took.Round(10*time.Millisecond))
	if s.Merged.Skipped {
		fmt.Fprintln(w, "  nothing imported: the store is not empty")
		return
	}
	fmt.Fprintf(w, "  %d added, %d updated, %d unchanged, %d removed\n", s.Added, s.Updated, s.Unchanged, s.Removed)
	if k := s.Skipped; k.Objects() > 0 {
		fmt.Fprintf(w, "  skipped: %d revoked, %d deprecated\n", k.Revoked, k.Deprecated)
		if len(k.Types) > 0 {
			fmt.Fprintf(w, "  not used by the API: %s\n", listed(k.Types))
		}
		if len(k.Relations) > 0 {
			fmt.Fprintf(w, "  relationships not used by the API: %s\n", listed(k.Relations))
		}
	}
	if s.Dangling > 0 {
		fmt.Fprintf(w, "  %s an object that no bundle has brought yet\n", map[bool]string{true: "1 relationship waits for", false: fmt.Sprintf("%d relationships wait for", s.Dangling)}[s.Dangling == 1])
	}
	fmt.Fprintf(w, "  other writers waited for %v at most, readers for nothing\n", s.Blocked.Round(time.Millisecond))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
