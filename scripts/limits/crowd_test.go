package limits

import "time"

// crowd is policies of all kinds, and clients below, at and above their limits.
func crowd() ([]policy, []stream) {
	policies := []policy{
		{Name: "minute", rule: rule{1000, time.Minute, 1000}}, // the default of neko-api
		{Name: "fast", rule: rule{600, time.Second, 600}},
		{Name: "short", rule: rule{100, time.Second, 100}},
		{Name: "least", rule: rule{40, time.Second, 20}}, // leases of one token
		{Name: "exact", rule: rule{10, time.Second, 10}},
		{Name: "login", rule: rule{5, time.Minute, 5}},
	}
	const minute, fast, short, least, exact, login = 0, 1, 2, 3, 4, 5
	of := func(p int, key string) []charge { return []charge{{Policy: p, Key: key}} }
	costs := func(p int, key string) []charge { return []charge{{Policy: p, Key: key, Costs: true}} }
	return policies, []stream{
		{Charges: of(minute, "steady"), Arrive: "steady", PerSec: 1.1 * 1000 / 60, Steady: true},
		{Charges: of(minute, "thirsty"), Arrive: "poisson", PerSec: 300},
		{Charges: of(fast, "below"), Arrive: "poisson", PerSec: 300},
		{Charges: of(fast, "above"), Arrive: "poisson", PerSec: 900},
		{Charges: of(short, "at"), Arrive: "steady", PerSec: 110, Steady: true},
		{Charges: of(short, "one host"), Arrive: "steady", PerSec: 100, Hosts: []int{0}},
		{Charges: of(short, "bursty"), Arrive: "bursty", PerSec: 100},
		{Charges: costs(short, "dear"), Arrive: "poisson", PerSec: 30, MaxCost: 7},
		{Charges: of(least, "at"), Arrive: "poisson", PerSec: 40},
		{Charges: of(exact, "at"), Arrive: "poisson", PerSec: 10},
		{Charges: of(exact, "above"), Arrive: "bursty", PerSec: 60},
		{Charges: costs(exact, "dear"), Arrive: "poisson", PerSec: 5, MaxCost: 10},
		{Charges: of(login, "someone"), Arrive: "poisson", PerSec: 3},
		// Several at once, that others use as well.
		{Charges: []charge{{Policy: short, Key: "both"}, {Policy: fast, Key: "above"}}, Arrive: "poisson", PerSec: 60},
		{Charges: []charge{{Policy: exact, Key: "both"}, {Policy: short, Key: "both"}, {Policy: minute, Key: "thirsty"}}, Arrive: "poisson", PerSec: 15},
	}
}
