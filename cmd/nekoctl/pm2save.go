package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nekoctl/neko/pm2/ecosystem"
	"github.com/nekoctl/neko/pm2/shape"
	"github.com/nekoctl/neko/supervisor"
	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/spec"
)

// save writes dump.pm2 as PM2 does; the one before becomes the backup. Each is
// written in one step, for the owner alone: it holds the environment of the apps.
func (f *face) save(ctx context.Context) error {
	f.ok("Saving current process list...")
	list, _, err := f.processes(ctx)
	if err != nil {
		return err
	}
	if len(list) == 0 && !f.line.given.is("force") && os.Getenv("FORCE") == "" {
		if !exists(f.place.Dump) {
			if err := writeDump(f.place.Dump, []byte("[]")); err != nil {
				return failed("nothing was saved", "%v", err)
			}
		}
		f.caution("PM2 is not managing any process, skipping save...")
		f.caution("To force saving use: pm2 save --force")
		return nil
	}
	text := shape.Dump(objects(list))
	if before, err := os.ReadFile(f.place.Dump); err == nil {
		if err := writeDump(f.place.DumpBackup, before); err != nil {
			f.fail("Failed to back up dump file in %s", f.place.DumpBackup)
		}
	}
	if err := writeDump(f.place.Dump, text); err != nil {
		f.fail("Failed to save dump file in %s", f.place.Dump)
		return failed("what was saved before is as it was", "%v", err)
	}
	f.ok("Successfully saved in %s", f.place.Dump)
	return nil
}

func (f *face) clearDump(context.Context) error {
	if err := writeDump(f.place.Dump, []byte("[]")); err != nil {
		return failed("what was saved is as it was", "%v", err)
	}
	f.ok("Successfully created %s", f.place.Dump)
	return nil
}

// writeDump replaces a file in one step, whoever else does so at the time.
func writeDump(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-")
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return err
}

// resurrect starts what a dump has: one of PM2's own, too.
func (f *face) resurrect(ctx context.Context) error {
	f.ok("Resurrecting")
	saved, err := f.savedApps()
	if err != nil {
		return err
	}
	if f.line.given.last("daemon") == "false" {
		return exitCode(supervisor.ForegroundSaved(f.home, version(), saved, spec.Daemon{}))
	}
	list, apps, err := f.processes(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, e := range list {
		known[e.name()] = true
	}
	var fresh []control.Saved
	for _, s := range saved {
		if known[s.App.Title] {
			continue
		}
		s.App.Name = ecosystem.Unique(s.App.Name, func(name string) bool {
			for _, other := range fresh {
				if other.App.Name == name {
					return true
				}
			}
			return taken(apps, nil)(name)
		})
		fresh = append(fresh, s)
	}
	if len(fresh) > 0 {
		done, err := f.client.Resurrect(ctx, control.ResurrectRequest{Apps: fresh}, nil)
		if err := f.forgive(done, err); err != nil {
			return err
		}
	}
	for _, s := range fresh {
		for range s.App.Slots(supervisor.GrantedCPUs()) {
			f.ok("Process %s restored", shapePath(s.App))
		}
	}
	return f.speedList(ctx)
}

// savedApps reads the dump, or the backup if the dump is broken; that is put aside,
// and not lost.
func (f *face) savedApps() ([]control.Saved, error) {
	for _, path := range []string{f.place.Dump, f.place.DumpBackup} {
		f.ok("Restoring processes located in %s", path)
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			f.fail("Failed to read dump file in %s", path)
			continue
		}
		if err != nil {
			return nil, failed("nothing was started", "%v", err)
		}
		saved, err := ecosystem.ReadDump(text, f.ecosystem())
		if err == nil {
			return saved, nil
		}
		f.fail("Failed to parse dump file in %s", path)
		aside := fmt.Sprintf("%s.broken-%s", path, time.Now().Format("20060102-150405.000"))
		if renameErr := os.Rename(path, aside); renameErr != nil {
			return nil, failed("nothing was started", "%v; it cannot be put aside: %v", err, renameErr)
		}
		f.warn("%s: %v", path, err)
		f.hint("it is kept as %s", aside)
	}
	f.fail("No processes saved; DUMP file doesn't exist")
	return nil, nil
}
