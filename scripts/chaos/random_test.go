package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// events are what happens in random order; each leaves a stage on which the next
// can happen. i counts, for those that go by turns.
var events = []struct {
	name   string
	do     func(s *stage, i int)
	mounts bool
}{
	{"reload", reload, false},
	{"reload into a fault", func(s *stage, i int) { reloadIntoFault(s, i%len(faults)) }, false},
	{"reload fast", reloadFast, false},
	{"scale", func(s *stage, _ int) { scaleTo(s, 2+s.rand.IntN(3)) }, false},
	{"kill workers", killWorkers, false},
	{"hang workers", func(s *stage, _ int) { hang(s, 3*time.Second) }, false},
	{"crash-loop", crashLoop, false},
	{"upgrade", upgrade, false},
	{"upgrade to bad binaries", upgradeToEachBadBinary, false},
	{"upgrade to dying", upgradeToDying, false},
	{"kill the master", killMaster, false},
	{"kill the keeper", killKeeper, false},
	{"kill both", killBoth, false},
	{"read-only home", protectHome, true},
	{"spoil the state file", spoilState, false},
}

// random goes through all events in an order by chance, and then again, until its
// time is over; a short run does not get through them all. Meanwhile the API's
// data is imported again and again.
func random(s *stage, _ int) {
	s.importAll()
	s.size.soon = max(s.size.soon, 5*time.Second) // imports leave the machine no time to spare
	noMount := mayMount(s.daemon)
	if noMount != nil {
		s.Logf("without a read-only home: %v", noMount)
	}
	for end := time.Now().Add(s.size.random); time.Now().Before(end); {
		for _, k := range s.rand.Perm(len(events)) {
			if events[k].mounts && noMount != nil {
				continue
			}
			began := time.Now()
			events[k].do(s, s.rand.IntN(6))
			s.pass()
			s.Logf("%s: %v", events[k].name, time.Since(began).Round(time.Millisecond))
			if time.Now().After(end) {
				break
			}
		}
	}
}

// importAll runs `neko-api import` over and over until the test ends.
func (s *stage) importAll() {
	s.Helper()
	list, err := bundles()
	if err != nil {
		s.Fatal(err)
	}
	if len(list) == 0 {
		s.Log("NEKO_TEST_ATTACK names no folder of ATT&CK bundles (attack.mitre.org): importing a small one")
		list = []string{s.smallBundle()}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var imports sync.WaitGroup
	s.Cleanup(func() {
		cancel()
		imports.Wait()
	})
	imports.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := s.command(nekoAPI, "import", list[i%len(list)]); err != nil {
				s.Error(err)
				return
			}
		}
	})
}

// smallBundle is a STIX bundle of some malware.
func (s *stage) smallBundle() string {
	s.Helper()
	var objects []string
	for i := range 200 {
		objects = append(objects, fmt.Sprintf(`{"type": "malware", "spec_version": "2.1",
			"id": "malware--00000000-0000-4000-8000-%012d", "name": "Malware %d", "is_family": true,
			"created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z"}`, i, i))
	}
	text := `{"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000000", "objects": [` + strings.Join(objects, ",") + "]}"
	file := filepath.Join(s.dir, "bundle.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	return file
}
