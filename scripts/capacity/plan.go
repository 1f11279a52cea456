package main

import (
	"errors"
	"fmt"
	"math"
)

// load is what is asked for. Shares are from 0 to 1, sizes in bytes, prices in one
// currency.
type load struct {
	RPS        float64 `json:"rps"`    // of all regions, at the peak
	PerDay     float64 `json:"perDay"` // instead of it
	PeakFactor float64 `json:"peakFactor"`
	Hit        float64 `json:"hit"`      // of reads
	HitRedis   float64 `json:"hitRedis"` // of reads
	Writes     float64 `json:"writes"`
	Edge       float64 `json:"edge"`
	ClientRate float64 `json:"clientRate"` // of one client at one host
	Clients    float64 `json:"clients"`    // per region
	Answers    float64 `json:"answers"`    // per region

	Regions      int     `json:"regions"`
	SpareRegions int     `json:"spareRegions"`
	Zones        int     `json:"zones"`
	Cores        int     `json:"cores"`
	CoreSpeed    float64 `json:"coreSpeed"`
	Cache        float64 `json:"cache"`
	Store        string  `json:"store"`
	Target       float64 `json:"target"`
	Ceiling      float64 `json:"ceiling"`
	VM           bool    `json:"vm"`

	CoreHour  float64 `json:"pricePerCoreHour"`
	GiBHour   float64 `json:"pricePerGiBHour"`
	OtherHour float64 `json:"otherPerHour"`
}

// leastPods is a pod in each of three zones: the deployment's replicas, of which a budget
// for disruptions keeps two.
const leastPods = 3

// mostPods is maxReplicas in k8s/base, and requestedShare what its request of CPU is of
// its limit: an HPA counts in requests, and all that is said here is of limits.
const (
	mostPods       = 10
	requestedShare = 0.5
)

// plan is what comes of a load. Without machines that were asked for, with --vm, only
// the first fields count.
type plan struct {
	Load load `json:"load"`

	PerRequest float64 `json:"microsecondsPerRequest"` // CPU of workers, of a pod's size
	PerPod     float64 `json:"rpsPerPod"`              // at the target; with --vm of the machine
	PodMemory  float64 `json:"podMemoryBytes"`         // what it takes, with all caches full
	PodLimit   float64 `json:"podMemoryLimitBytes"`    // and what a reload and the largest answers take, and a quarter more

	RPS         float64 `json:"rps"`       // at the peak, of all regions, the edge's share included
	Mean        float64 `json:"meanRPS"`   //
	EdgeRPS     float64 `json:"edgeRPS"`   // that never reach us
	RegionRPS   float64 `json:"regionRPS"` // that reach each region, with the spare ones away
	PerMonth    float64 `json:"requestsPerMonth"`
	Pods        int     `json:"podsPerRegion"`
	Because     string  `json:"because"`               // what has decided on their number
	AfterZone   float64 `json:"utilisationZoneLost"`   // of those that are left, at the peak
	Utilisation float64 `json:"utilisation"`           // at the peak
	MinReplicas int     `json:"minReplicas"`           // of the HPA
	MaxReplicas int     `json:"maxReplicas"`           //
	RoomCores   int     `json:"roomCoresPerRegion"`    // that nodes must have, a pod more for a rolling update
	RoomMemory  float64 `json:"roomMemoryBytesRegion"` //
	Cores       int     `json:"cores"`                 // of all regions

	RedisCommands float64 `json:"redisCommandsPerSecondPerRegion"`
	RedisCPU      float64 `json:"redisCoresPerRegion"` // of its one thread
	RedisMemory   float64 `json:"redisMemoryBytesPerRegion"`
	RedisConns    int     `json:"redisConnectionsPerRegion"`

	StoreCalls float64 `json:"storeCallsPerSecond"` // of all regions
	StoreConns int     `json:"storeConnections"`    // at the most, of all regions

	CostHour       float64 `json:"costPerHour"`
	CostPerMillion float64 `json:"costPerMillionRequests"`

	Warnings []string `json:"warnings,omitempty"`
}

// check says what of a load makes no sense, in the words of the command line.
func (l *load) check() error {
	shares := []struct {
		name string
		v    float64
	}{{"hit", l.Hit}, {"hit-redis", l.HitRedis}, {"writes", l.Writes}, {"edge", l.Edge}}
	for _, s := range shares {
		if !(s.v >= 0 && s.v <= 1) {
			return fmt.Errorf("--%s is %v, and a share: 0 is none, 1 is all", s.name, s.v)
		}
	}
	if l.Hit+l.HitRedis > 1 {
		return fmt.Errorf("--hit and --hit-redis are %v together: they are shares of the same reads, 1 at the most", l.Hit+l.HitRedis)
	}
	if l.Edge == 1 {
		return errors.New("--edge is 1: nothing reaches us, so nothing is to be sized")
	}
	positive := []struct {
		name string
		v    float64
	}{{"core-speed", l.CoreSpeed}, {"target", l.Target}, {"ceiling", l.Ceiling}, {"cache", l.Cache}, {"client-rate", l.ClientRate}}
	for _, s := range positive {
		if !(s.v > 0) || math.IsInf(s.v, 0) {
			return fmt.Errorf("--%s is %v: it has to be more than 0", s.name, s.v)
		}
	}
	if l.Target > 1 || l.Ceiling > 1 {
		return fmt.Errorf("--target %v and --ceiling %v are shares of the CPUs, 1 at the most", l.Target, l.Ceiling)
	}
	if l.Ceiling < l.Target {
		return fmt.Errorf("--ceiling %v is less than --target %v: with a zone lost there is more to do for each, not less", l.Ceiling, l.Target)
	}
	notNegative := []struct {
		name string
		v    float64
	}{{"rps", l.RPS}, {"per-day", l.PerDay}, {"clients", l.Clients}, {"answers", l.Answers},
		{"price-per-core-hour", l.CoreHour}, {"price-per-gib-hour", l.GiBHour}, {"other-per-hour", l.OtherHour}}
	for _, s := range notNegative {
		if !(s.v >= 0) || math.IsInf(s.v, 0) {
			return fmt.Errorf("--%s is %v: it has to be a number, and not less than 0", s.name, s.v)
		}
	}
	if !(l.PeakFactor >= 1) || math.IsInf(l.PeakFactor, 0) {
		return fmt.Errorf("--peak-factor is %v: the busiest second cannot have less than the mean one", l.PeakFactor)
	}
	for _, s := range []struct {
		name string
		v    int
		most int
	}{{"regions", l.Regions, 1000}, {"zones", l.Zones, 1000}, {"cores", l.Cores, 1024}} {
		if s.v < 1 || s.v > s.most {
			return fmt.Errorf("--%s is %d: from 1 to %d", s.name, s.v, s.most)
		}
	}
	if l.SpareRegions < 0 || l.SpareRegions >= l.Regions {
		return fmt.Errorf("--spare-regions is %d of %d: at least one has to be left", l.SpareRegions, l.Regions)
	}
	switch {
	case l.VM && (l.Regions > 1 || l.SpareRegions > 0):
		return errors.New("--vm is one machine, so --regions does not go with it")
	case l.VM && l.PerDay+l.RPS > 0:
		return errors.New("--vm says what a machine carries: leave out --rps and --per-day, and compare")
	case !l.VM && l.RPS > 0 && l.PerDay > 0:
		return errors.New("--rps is of the busiest second and --per-day of a whole day: give one of them")
	case !l.VM && l.RPS == 0 && l.PerDay == 0:
		return errors.New("how many requests? --rps N of the busiest second, or --per-day N\nhint: --vm says what one machine carries")
	}
	if l.Store == "" {
		l.Store = "mongodb"
		if l.VM {
			l.Store = "sqlite"
		}
	}
	switch {
	case l.Store != "mongodb" && l.Store != "sqlite":
		return fmt.Errorf("--store is %q: mongodb or sqlite", l.Store)
	case l.Store == "sqlite" && !l.VM:
		return errors.New("--store sqlite is a file of one machine, which pods do not share: --store mongodb, or --vm")
	}
	return nil
}

// perRequest is the CPU time of a request in µs, on a machine with so many workers: the
// mean over all kinds.
//
// It is taken to grow evenly with the workers beyond the first, by what the second was
// measured to add, which is Amdahl's law for what they share: the memory that workers of a
// host map, and the listening address. (Gunther's law has a second term; two workers cannot
// tell more than one slope.) Less than nothing it does not add.
func (f *figures) perRequest(l load, workers int) float64 {
	anew := f.of(cpuMongoDB)
	if l.Store == "sqlite" {
		anew = f.of(cpuSQLite)
	}
	write := f.of(cpuWrite) // into MongoDB it was not measured: what is between is small beside the rest
	read := l.Hit*f.of(cpuHit) + l.HitRedis*f.of(cpuRedis) + (1-l.Hit-l.HitRedis)*anew
	cost := (1-l.Writes)*read + l.Writes*write
	if l.redis() {
		cost += f.redisDecides(l) * f.of(cpuSlow) / 1000
	}
	return cost * (1 + f.sharing()*float64(workers-1)) / l.CoreSpeed
}

// sharing is what each worker beyond the first adds to the CPU time of a request, as a
// share of it: by two workers of one host beside two that share nothing but the machine,
// with the same clients, which have the same CPUs.
func (f *figures) sharing() float64 { return max(0, f.of(cpuHitTwo)/f.of(cpuHitApart)-1) }

// redisDecides is how many calls of Redis a decision about a request takes. A client that
// asks a host more than four times a second has leases there. They last a second, and the
// next is asked for before it is needed: two calls in a second; and one is at most a twentieth
// of the burst, which is 1000 by default (docs/limits.md).
func (f *figures) redisDecides(l load) float64 {
	if l.ClientRate <= 4 {
		return f.of(callsSlow) / 1000
	}
	return max(2/l.ClientRate, 20./1000, f.of(callsLeased)/1000)
}

// busy is how many figures were measured while the machine had something else to do.
func (f *figures) busy() (n int) {
	for _, g := range f.Figures {
		if g.Busy != "" {
			n++
		}
	}
	return n
}

// redis says whether there is one: one machine counts by itself.
func (l load) redis() bool { return !l.VM }

// memory is what a worker takes with a full cache, and what the supervisor takes, in
// bytes: a line through the two sizes of the cache that were measured.
func (f *figures) memory(l load) (worker, daemon float64) {
	const mib = 1 << 20
	slope := (f.of(memory64) - f.of(memory16)) / 48
	worker = f.of(memory16)*mib + slope*(l.Cache-16*mib)
	return max(worker, l.Cache), f.of(memoryDaemon) * mib // a line may go anywhere
}

// plan is what a load needs.
func (f *figures) plan(l load) (*plan, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	worker, daemon := f.memory(l)
	p := &plan{Load: l, PerRequest: f.perRequest(l, l.Cores), PodMemory: float64(l.Cores)*worker + daemon}
	p.PodLimit = ceilTo((p.PodMemory+worker+float64(l.Cores)*largestAnswer)*1.25, 16<<20)
	whole := float64(l.Cores) * 1e6 / p.PerRequest // of a pod that has nothing left
	p.PerPod = whole * l.Target
	if n := f.busy(); n > 0 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%d of %d figures are not of a quiet machine, and worse than what it can do", n, len(f.Figures)))
	}
	if l.Cores > 2 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%d workers beside each other are arithmetic: measured were one and two", l.Cores))
	}
	if l.VM {
		p.vm(f)
		return p, nil
	}

	p.RPS = l.RPS
	if l.PerDay > 0 {
		p.RPS = l.PerDay / 86_400 * l.PeakFactor
	}
	p.Mean = p.RPS / l.PeakFactor
	p.PerMonth = p.Mean * 3600 * hoursAMonth
	p.EdgeRPS = p.RPS * l.Edge
	origin := p.RPS - p.EdgeRPS
	p.RegionRPS = origin / float64(l.Regions-l.SpareRegions)

	p.Pods, p.Because = podsFor(p.RegionRPS, whole, l.Target, l.Ceiling, l.Zones)
	p.Utilisation = p.RegionRPS / (float64(p.Pods) * whole)
	if left := p.Pods - inZone(p.Pods, l.Zones); left > 0 {
		p.AfterZone = p.RegionRPS / (float64(left) * whole)
	}
	mean, _ := podsFor(p.RegionRPS/l.PeakFactor, whole, l.Target, l.Ceiling, l.Zones)
	p.MinReplicas = mean
	// A rise by half over what was foreseen.
	p.MaxReplicas = int(math.Ceil(float64(p.Pods) * 1.5))
	p.RoomCores = (p.MaxReplicas + 1) * l.Cores
	p.RoomMemory = float64(p.MaxReplicas+1) * p.PodLimit
	p.Cores = p.Pods * l.Cores * l.Regions
	if p.MaxReplicas > mostPods {
		p.Warnings = append(p.Warnings, fmt.Sprintf("k8s/base has maxReplicas %d: set it to %d in the overlay, or give pods more cores", mostPods, p.MaxReplicas))
	}
	if l.Zones < 2 {
		p.Warnings = append(p.Warnings, "one zone: if it is lost nothing is left of the region")
	}

	reads := p.RegionRPS * (1 - l.Writes)
	found, anew := reads*l.HitRedis, reads*(1-l.Hit-l.HitRedis)
	decisions := p.RegionRPS * f.redisDecides(l)
	p.RedisCommands = decisions + found*f.of(callsFound) + anew*f.of(callsStored)
	p.RedisCPU = (decisions*f.of(redisSlow)/f.of(callsSlow) + found*f.of(redisFound) + anew*f.of(redisStored)) / 1e6 / l.CoreSpeed
	p.RedisMemory = ceilTo(l.Answers*f.of(bytesAnswer)+l.Clients*f.of(bytesBucket)+tagBytes, 1<<20)
	p.RedisConns = 2 * l.Cores * (p.MaxReplicas + 1)
	if p.RedisCPU > 0.5 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("Redis would have its one thread busy for %.0f %% of the time: take a Cluster of %d masters, or Redis's io-threads",
			100*p.RedisCPU, int(math.Ceil(p.RedisCPU/0.5))))
	}

	p.StoreCalls = (p.RPS - p.EdgeRPS) * ((1-l.Writes)*(1-l.Hit-l.HitRedis)*f.of(callsMiss) + l.Writes*f.of(callsWrite))
	// 100 for the workers of a host, at least 4 of each: docs/mongodb.md.
	p.StoreConns = max(100, 4*l.Cores) * (p.MaxReplicas + 1) * l.Regions

	gib := float64(p.Pods*l.Regions) * p.PodLimit / (1 << 30)
	p.CostHour = float64(p.Cores)*l.CoreHour + gib*l.GiBHour + l.OtherHour
	p.CostPerMillion = p.CostHour / (p.Mean * 3600 / 1e6)
	return p, nil
}

const (
	hoursAMonth = 730
	// largestAnswer is what k8s/base reckons for the largest that --max-fields lets through.
	largestAnswer = 300 << 20
	// tagBytes is what the tags of all types take in Redis at most (docs/caching.md).
	tagBytes = 25e6
)

// vm fills in what one machine carries.
func (p *plan) vm(f *figures) {
	l := &p.Load
	p.RPS = p.PerPod
	p.Because = "the CPUs"
	if l.Writes > 0 && l.Store == "sqlite" {
		// One writer at a time, and a file that is flushed: more cores do not help.
		if most := f.of(rateWrite) * l.Target / l.Writes; most < p.RPS {
			p.RPS, p.Because = most, "SQLite, which has one writer"
		}
	}
	p.PerPod, p.RegionRPS = p.RPS, p.RPS
	p.Mean = p.RPS / l.PeakFactor
	p.PerMonth = p.Mean * 3600 * hoursAMonth
	p.Utilisation = p.RPS * p.PerRequest / 1e6 / float64(l.Cores)
	p.Cores = l.Cores
	p.StoreCalls = p.RPS * ((1-l.Writes)*(1-l.Hit-l.HitRedis)*f.of(callsMiss) + l.Writes*f.of(callsWrite))
	p.CostHour = float64(l.Cores)*l.CoreHour + p.PodLimit/(1<<30)*l.GiBHour + l.OtherHour
	p.CostPerMillion = p.CostHour / (p.Mean * 3600 / 1e6)
	p.Warnings = append(p.Warnings, "one machine has no other beside it: what it does when it is lost is docs/deployment/disaster-recovery.md's")
	if l.Edge > 0 {
		p.Warnings = append(p.Warnings, "--edge: what is said here is what reaches the machine; a CDN in front of it answers its share besides")
	}
}

// podsFor is how many pods carry so many requests a second, if one that has nothing left
// carries whole of them: at the target, and, without the fullest of their zones, at the
// ceiling.
func podsFor(rps, whole, target, ceiling float64, zones int) (pods int, because string) {
	pods, because = leastPods, fmt.Sprintf("the least: %d, of which two stay in any disruption", leastPods)
	if n := int(math.Ceil(rps / (whole * target))); n > pods {
		pods, because = n, fmt.Sprintf("the load, at %.0f %% of the CPUs", 100*target)
	}
	if zones < 2 {
		return pods, because
	}
	for float64(pods-inZone(pods, zones))*whole*ceiling < rps {
		pods++
		because = fmt.Sprintf("a zone lost, the others at %.0f %% of the CPUs", 100*ceiling)
	}
	return pods, because
}

// inZone is how many of the pods the fullest zone has, when they are spread evenly.
func inZone(pods, zones int) int { return (pods + zones - 1) / zones }

// ceilTo is v, rounded up to a multiple of step.
func ceilTo(v, step float64) float64 { return math.Ceil(v/step) * step }
