package main

import (
	"fmt"
	"io"
	"math"
)

// print says it for people.
func (p *plan) print(w io.Writer) {
	l := p.Load
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-22s %s\n", name, fmt.Sprintf(format, args...))
	}
	if l.VM {
		line("carries", "%s requests a second at %.0f %% of %d %s; what bounds it: %s", count(p.RPS), 100*p.Utilisation, l.Cores, plural(l.Cores, "core"), p.Because)
		line("", "%s a day with a busiest second of %g times the mean", count(p.Mean*86_400), l.PeakFactor)
		line("CPU of a request", "%.0f µs, the mean over all kinds", p.PerRequest)
		line("memory", "%s with full caches of %s; have %s, for a reload and the largest answers", bytesText(p.PodMemory), bytesText(l.Cache), bytesText(p.PodLimit))
		line("store", "%s, %s calls a second", l.Store, count(p.StoreCalls))
	} else {
		line("load", "%s requests a second at the peak, %s in the mean, %s a month", count(p.RPS), count(p.Mean), count(p.PerMonth))
		if l.Edge > 0 {
			line("edge", "answers %s of them a second", count(p.EdgeRPS))
		}
		each := "the region"
		if l.Regions > 1 {
			each = fmt.Sprintf("each of %d regions", l.Regions)
			if l.SpareRegions > 0 {
				each += fmt.Sprintf(", with %d away", l.SpareRegions)
			}
		}
		line("", "%s a second reach %s", count(p.RegionRPS), each)
		line("a pod", "%s requests a second at %.0f %% of %d %s, %.0f µs of CPU each", count(p.PerPod), 100*l.Target, l.Cores, plural(l.Cores, "core"), p.PerRequest)
		line("", "memory %s with full caches of %s; request and limit %s, for a reload and the largest answers", bytesText(p.PodMemory), bytesText(l.Cache), bytesText(p.PodLimit))
		line("pods of a region", "%d, because of %s", p.Pods, p.Because)
		line("", "%.0f %% of their CPUs at the peak; %.0f %% when a zone of %d is lost", 100*p.Utilisation, 100*p.AfterZone, l.Zones)
		line("HPA", "minReplicas %d, maxReplicas %d, averageUtilization %.0f with half of the limit as request, as in k8s/base", p.MinReplicas, p.MaxReplicas, 100*l.Target/requestedShare)
		line("room of a region", "%d cores and %s for all that, and one pod more in a rolling update", p.RoomCores, bytesText(p.RoomMemory))
		line("cores of all regions", "%d", p.Cores)
		line("Redis of a region", "%s commands a second, %.1f %% of its thread, %s, %d connections at most", count(p.RedisCommands), 100*p.RedisCPU, bytesText(p.RedisMemory), p.RedisConns)
		line("MongoDB", "%s calls a second from all regions (each a few commands), %d connections at most", count(p.StoreCalls), p.StoreConns)
	}
	line("cost", "%.4f per million requests, %.2f an hour: %g per core and %g per GiB and hour, %g for all else",
		p.CostPerMillion, p.CostHour, l.CoreHour, l.GiBHour, l.OtherHour)
	for _, text := range p.Warnings {
		fmt.Fprintf(w, "\nnote: %s", text)
	}
	if len(p.Warnings) > 0 {
		fmt.Fprintln(w)
	}
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// count is a number with three digits that mean something, and the thousands apart.
func count(v float64) string {
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%.3g billion", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.3g million", v/1e6)
	case v >= 1000:
		n := int(math.Round(v))
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	return fmt.Sprintf("%.3g", v)
}

func bytesText(v float64) string {
	for _, u := range units {
		if v >= u.is {
			return fmt.Sprintf("%.3g%s", v/u.is, u.name)
		}
	}
	return "0B"
}
