// Capacity says how many pods, cores and how much memory a load needs, what it asks of
// Redis and MongoDB, and what a million requests cost: arithmetic from the figures in
// measured.json, each with the command that has measured it. docs/deployment/capacity.md
// has worked examples.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

const usage = `Usage: go run ./scripts/capacity [options]

From a load to pods, cores, memory, Redis, MongoDB and cost, by what was measured of
one core (scripts/capacity/measured.json).

The load, of all regions together:
  --rps N               requests a second at the busiest time
  --per-day N           instead of it: requests a day, with --peak-factor
  --peak-factor F       the busiest second against the mean one (3)
  --hit SHARE           of reads that are answered from a worker's memory (0.9)
  --hit-redis SHARE     of reads that are answered from Redis (0)
  --writes SHARE        of all requests that are mutations (0)
  --edge SHARE          of all requests that a CDN answers and we never see (0)
  --client-rate R       requests a second that one client sends to one host; above 4
                        hosts have leases for it, else Redis decides each (1)
  --clients N           clients, per region, whose bucket in Redis is not full (10000)
  --answers N           different answers that Redis shall keep, per region (100000)

The machines:
  --regions N           that share the load evenly (1)
  --spare-regions N     regions that may be away, the others carry their load (0)
  --zones N             of a region, over which pods are spread (3)
  --cores N             of a pod, or with --vm of the machine; a worker for each (2)
  --core-speed F        your core against the measured one (1)
  --cache SIZE          answers in memory, of each worker (64MiB)
  --store NAME          mongodb, or with --vm sqlite (mongodb; with --vm sqlite)
  --target SHARE        utilisation of the CPUs at the peak: the HPA's target (0.6)
  --ceiling SHARE       utilisation while a zone is lost (0.85)
  --vm                  one machine under nekoctl: what it carries, and no pods

The prices, which are yours to fill in:
  --price-per-core-hour P   (0.04)
  --price-per-gib-hour P    (0.005)
  --other-per-hour P        all else, of all regions: Redis, MongoDB, edge (0)

  --json                print it as JSON
  --figures FILE        other figures than the built-in ones
  --measure             measure on this machine, and write scripts/capacity/measured.json
                        (or the file of --figures); ten minutes on a quiet machine
  --only REGEXP         measure figures of such names, and leave the others
  --rounds N            of each figure, at the most (9)

Examples:
  go run ./scripts/capacity --vm --cores 2
  go run ./scripts/capacity --rps 1000
  go run ./scripts/capacity --per-day 100e6 --regions 3 --edge 0.5 --peak-factor 4
  go run ./scripts/capacity --rps 10000 --hit 0.9 --regions 3 --cores 2 --price-per-core-hour 0.04 --json
`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// size is a flag like 64MiB, in bytes.
type size float64

var units = []struct {
	name string
	is   float64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (s *size) String() string { return bytesText(float64(*s)) }

func (s *size) Set(text string) error {
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		var n float64
		if _, err := fmt.Sscanf(digits, "%g", &n); err != nil || n < 0 {
			break
		}
		*s = size(n * u.is)
		return nil
	}
	return errors.New("a size is a number with KiB, MiB or GiB behind it, as in 64MiB")
}

func run(args []string, out io.Writer) error {
	l := load{
		PeakFactor: 3, Hit: 0.9, ClientRate: 1, Clients: 10_000, Answers: 100_000, Regions: 1, Zones: 3, Cores: 2,
		CoreSpeed: 1, Cache: 64 << 20, Target: 0.6, Ceiling: 0.85, CoreHour: 0.04, GiBHour: 0.005,
	}
	f := flag.NewFlagSet("capacity", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.Float64Var(&l.RPS, "rps", 0, "")
	f.Float64Var(&l.PerDay, "per-day", 0, "")
	f.Float64Var(&l.PeakFactor, "peak-factor", l.PeakFactor, "")
	f.Float64Var(&l.Hit, "hit", l.Hit, "")
	f.Float64Var(&l.HitRedis, "hit-redis", 0, "")
	f.Float64Var(&l.Writes, "writes", 0, "")
	f.Float64Var(&l.Edge, "edge", 0, "")
	f.Float64Var(&l.ClientRate, "client-rate", l.ClientRate, "")
	f.Float64Var(&l.Clients, "clients", l.Clients, "")
	f.Float64Var(&l.Answers, "answers", l.Answers, "")
	f.IntVar(&l.Regions, "regions", l.Regions, "")
	f.IntVar(&l.SpareRegions, "spare-regions", 0, "")
	f.IntVar(&l.Zones, "zones", l.Zones, "")
	f.IntVar(&l.Cores, "cores", l.Cores, "")
	f.Float64Var(&l.CoreSpeed, "core-speed", l.CoreSpeed, "")
	f.Var((*size)(&l.Cache), "cache", "")
	f.StringVar(&l.Store, "store", "", "")
	f.Float64Var(&l.Target, "target", l.Target, "")
	f.Float64Var(&l.Ceiling, "ceiling", l.Ceiling, "")
	f.BoolVar(&l.VM, "vm", false, "")
	f.Float64Var(&l.CoreHour, "price-per-core-hour", l.CoreHour, "")
	f.Float64Var(&l.GiBHour, "price-per-gib-hour", l.GiBHour, "")
	f.Float64Var(&l.OtherHour, "other-per-hour", 0, "")
	asJSON := f.Bool("json", false, "")
	file := f.String("figures", "", "")
	measureNow := f.Bool("measure", false, "")
	rounds := f.Int("rounds", 9, "")
	only := f.String("only", "", "")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, usage)
			return err
		}
		return fmt.Errorf("%w\nhint: go run ./scripts/capacity --help", err)
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q is no option\nhint: go run ./scripts/capacity --help", f.Arg(0))
	}
	if *measureNow {
		return measure(*file, *only, *rounds, out)
	}
	figures, err := readFigures(*file)
	if err != nil {
		return err
	}
	p, err := figures.plan(l)
	if err != nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(p)
	}
	p.print(out)
	return nil
}
