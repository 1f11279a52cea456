package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/nekoctl/neko/scripts/slowproxy"
)

// core is what a core does: medians, CPU times in µs.
type core struct {
	hit           float64 // CPU of a hit
	two, apart    float64 // the same, of two workers that share a host, and that do not
	rate, rateTwo float64 // hits a second
	anew          float64 // CPU of an answer made anew from SQLite
}

// measureCore measures it once.
func (c *claims) measureCore() (*core, error) {
	if c.core != nil {
		return c.core, nil
	}
	if err := c.ready(); err != nil {
		return nil, err
	}
	rows := make([]*figure, 7)
	for i := range rows {
		rows[i] = &figure{}
	}
	if err := c.hit(rows[:5]); err != nil {
		return nil, err
	}
	if err := c.sqlite(rows[5:]); err != nil {
		return nil, err
	}
	at := func(i int) float64 { return rows[i].Neko.Median }
	c.core = &core{hit: at(0), rate: at(1), two: at(2), rateTwo: at(3), apart: at(4), anew: at(5)}
	return c.core, nil
}

// ready starts what most claims need, once.
func (c *claims) ready() error {
	if c.neko != nil {
		return nil
	}
	err := c.begin()
	if err == nil {
		err = c.warm(c.neko, c.files["all"])
	}
	if err != nil {
		c.end() // the next one tries again
	}
	return err
}

func (c *claims) tenThousand() (finding, error) {
	m, err := c.measureCore()
	if err != nil {
		return finding{}, err
	}
	return found(m.rate >= 10_000, "one worker on one core answers %.0f a second from memory (Zipf over %d queries, limits on), two beside their client on two cores %.0f; all made anew from SQLite, a core has CPU for %.0f",
		m.rate, cacheQueries, m.rateTwo, 1e6/m.anew), nil
}

func (c *claims) hundredMillion() (finding, error) {
	m, err := c.measureCore()
	if err != nil {
		return finding{}, err
	}
	const mean = 100e6 / 86_400
	carries := 1e6 / (0.9*m.hit + 0.1*m.anew)
	return found(carries*0.6 >= 3*mean, "arithmetic: %.0f a second in the mean, %.0f when the busiest second has three times as many; with one in ten made anew from SQLite a core has CPU for %.0f, and for %.0f at 60 %% of it",
		mean, 3*mean, carries, carries*0.6), nil
}

// fewMilliseconds counts from when a request was due, at a fixed rate (an open loop): who
// waits behind another has waited.
func (c *claims) fewMilliseconds() (finding, error) {
	if err := c.ready(); err != nil {
		return finding{}, err
	}
	const rate = 10_000
	var p50, p99, p999 []float64
	for round := range min(c.b.rounds, 5) {
		got, _, err := c.drive(c.neko, driving{Requests: c.files["all"], Zipf: 1, Clients: cacheClients, Rate: rate, Seconds: 2 * cacheMeasure, Seed: uint64(round), Aside: true})
		if err != nil {
			return finding{}, err
		}
		p50, p99, p999 = append(p50, got.P50), append(p99, got.P99), append(p999, got.P999)
	}
	return found(median(p99) <= 5, "p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms at a fixed %d a second from a client on the same machine, one worker; the network comes on top",
		median(p50), median(p99), median(p999), rate), nil
}

// alone is the median time until an answer, in ms, of a client that has the server to
// itself.
func (c *claims) alone(s *cacheServer, file string, limit int) (float64, error) {
	var all []float64
	for round := range min(c.b.rounds, 5) {
		d := driving{Requests: file, Zipf: 1, Clients: 1, Seconds: cacheMeasure, Seed: uint64(round), Aside: true}
		if limit > 0 {
			d.Limit, d.Seconds = limit, 60
		}
		got, _, err := c.drive(s, d)
		if err != nil {
			return 0, err
		}
		all = append(all, got.P50)
	}
	return median(all), nil
}

// hitAndAnew are the times of a hit, and of an answer made anew from SQLite, in ms.
func (c *claims) hitAndAnew() (hit, anew float64, err error) {
	if err := c.ready(); err != nil {
		return 0, 0, err
	}
	if hit, err = c.alone(c.neko, c.files["all"], 0); err != nil {
		return 0, 0, err
	}
	s, err := c.b.serve(serving{workers: 1, alone: true, args: open("--cache", "off")})
	if err != nil {
		return 0, 0, err
	}
	defer s.end()
	if _, err := c.alone(s, c.files["all"], 2000); err != nil { // it is warm
		return 0, 0, err
	}
	anew, err = c.alone(s, c.files["all"], 0)
	return hit, anew, err
}

func (c *claims) fasterThanSQLite() (finding, error) {
	hit, anew, err := c.hitAndAnew()
	if err != nil {
		return finding{}, err
	}
	return found(anew/hit >= 10, "%.2g ms from memory, %.2g ms made anew from a SQLite file that is in the page cache: %.1f times, one client", hit, anew, anew/hit), nil
}

// fasterThanAway counts the ways to the store and back, one after the other, that an answer
// made anew has to wait for: by what a long way adds, as the server in MongoDB's place takes
// its own time. What a store takes that answers at once, so far away, follows.
func (c *claims) fasterThanAway() (finding, error) {
	hit, anew, err := c.hitAndAnew()
	if err != nil {
		return finding{}, err
	}
	m, err := startMongo(c.b)
	if err != nil {
		return finding{}, err
	}
	defer m.end()
	way, err := slowproxy.New(m.address)
	if err != nil {
		return finding{}, err
	}
	defer way.Close()
	s, err := c.b.serve(serving{workers: 1, alone: true, store: "mongodb://" + way.Addr() + "/neko", args: open("--cache", "off", "--store-timeout", "60s", "--execution-timeout", "60s")})
	if err != nil {
		return finding{}, err
	}
	defer s.end()
	const calls, far = 8, 400.0                                     // ms, there and back: far more than what it takes itself differs by
	if _, err := c.alone(s, c.files["some"], 2*calls); err != nil { // it is warm
		return finding{}, err
	}
	near, err := c.alone(s, c.files["some"], calls)
	if err != nil {
		return finding{}, err
	}
	way.Delay(far / 2 * time.Millisecond)
	distant, err := c.alone(s, c.files["some"], calls)
	if err != nil {
		return finding{}, err
	}
	trips := (distant - near) / far
	if trips < 0.9 {
		return finding{}, fmt.Errorf("an answer took %.1f ms, and %.1f ms with a store %g ms away: it cannot have asked it", near, distant, far)
	}
	at := func(d float64) float64 { return trips*d + anew }
	return found(at(1)/hit >= 10, "%.2g ms from memory; made anew it waits %.1f times for the store (measured with one %g ms away), so with one 1 ms away it takes %.1f ms, %.0f times as long, and with 5 ms %.1f ms, %.0f times",
		hit, trips, far, at(1), at(1)/hit, at(5), at(5)/hit), nil
}

func (c *claims) lessLoad() (finding, error) {
	if err := c.ready(); err != nil {
		return finding{}, err
	}
	row := &figure{}
	c.besideNoCache(row)
	for _, r := range []rounds{row.Neko, row.Peer} {
		if !r.ok() {
			return finding{}, fmt.Errorf("%s", r.Error)
		}
	}
	less := 1 - row.Neko.Median/row.Peer.Median
	return found(less >= 0.8, "%.0f calls to the store for 1,000 answers, and %.0f without a cache: %.1f %% fewer (60,000 answers, Zipf over %d queries, from an empty cache)",
		row.Neko.Median, row.Peer.Median, 100*less, cacheQueries), nil
}

// eightCores is arithmetic from two: what the second worker adds to the CPU time of an
// answer each of eight is taken to add.
func (c *claims) eightCores() (finding, error) {
	m, err := c.measureCore()
	if err != nil {
		return finding{}, err
	}
	sharing := max(0, m.two/m.apart-1)
	times := func(n float64) float64 { return n / (1 + sharing*(n-1)) }
	by := fmt.Sprintf("two do %.2f times what one does, and by that slope eight %.1f times", times(2), times(8))
	if sharing == 0 {
		by = "sharing costs nothing that can be measured, and by that eight would do 8 times what one does"
	}
	return finding{fmt.Sprintf("the machine has %d cores. An answer takes two workers of a host %.1f µs of CPU, and two that share nothing but the machine %.1f µs: %s",
		runtime.NumCPU(), m.two, m.apart, by), notShown}, nil
}

// peerClaim is a claim of which the figures of "cache" tell.
func peerClaim(peer string, times float64) func(*claims) (finding, error) {
	return func(c *claims) (finding, error) {
		all := cached()
		rows := all.want(func(name string) bool {
			return name == "cache: hit, two workers, and "+peer || name == "cache: hit, two workers, and "+peer+": CPU of one"
		})
		all.run(c.b)
		rate, cpu := rows[0], rows[1]
		for _, r := range []rounds{rate.Neko, rate.Peer} {
			if !r.ok() {
				return finding{}, fmt.Errorf("%s (node, npm and PM2 are needed)", r.Error)
			}
		}
		return found(rate.Neko.Median >= times*rate.Peer.Median, "%.0f a second, %s %.0f: %.2f to 1; CPU of an answer %.0f µs and %.0f µs, %.1f to 1, for the client takes much of the two cores",
			rate.Neko.Median, peer, rate.Peer.Median, rate.Neko.Median/rate.Peer.Median, cpu.Neko.Median, cpu.Peer.Median, cpu.Peer.Median/cpu.Neko.Median), nil
	}
}
