package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/logtext"
)

// What a file may say, and what a mistake in it is answered with: place, reason, hint.
func TestRateLimitFile(t *testing.T) {
	w, _ := rateWorker(t, Config{})
	for _, c := range []struct{ text, want string }{
		{"[]", "there are none"},
		{"- {name: a, limit: 5/min}", "a"},
		{"- name: login\n  per: [ip, argument:input.name]\n  fields: Mutation.login\n  limit: 5/1m\n  burst: 2\n  fail: closed\n- {name: b, limit: 1/d, count: cost, operations: [A]}", "login, b"},
		{"- {name: a, per: [key, operation], fields: ['Query.*', Mutation.logout], limit: \"10/s\"}", "a"},

		{"", "FILE is empty (write a list of rules"},
		{"# nothing", "FILE is empty"},
		{"null", "FILE:1:1: it must be a list"},
		{"name: a", "FILE:1:1: it must be a list"},
		{"- [", "FILE:2:1: did not find expected node content (write a list of rules"},
		{"- name: a\n\tlimit: 5/min", "FILE:2:1: found a tab character"},
		{"- {name: gr\xf6\xdfe}", "FILE: yaml: "}, // of which it is not known where
		{"[]\n---\n[]", "FILE has more than one YAML document (take out the line ---)"},
		{"- 1", "FILE:1:3: a rule must have keys and values"},
		{"- {name: a, limt: 5/min}", `FILE:1:13: unknown key "limt" (did you mean "limit"?)`},
		{"- &a {name: a, limit: 5/min}\n- *a", "FILE:2:3: aliases like *a are not taken here (write out what it stands for)"},
		{"- {name: &a a, limit: 5/min}\n- {name: b, limit: *a}", "FILE:2:20: aliases like *a are not taken here"},
		{"- &a {name: a, limit: 5/min}\n- {<<: *a, name: b}", `FILE:2:4: unknown key "<<" (write out what it merges`},
		{"- {name: a, colour: red}", `FILE:1:13: unknown key "colour" (a rule has name, per,`},
		{"- {name: a, limit: 5/min, name: b}", `FILE:1:27: "name" is already set in line 1 (keep one of them)`},
		{"- {limit: 5/min}", "FILE:1:3: the rule has no name"},
		{"- {name: a}", "FILE:1:3: the rule has no limit"},
		{"- {name: a, limit: 5}", `FILE:1:20: "5" is no limit (write how many in how long`},
		{"- {name: a, limit: 0/s}", `FILE:1:20: "0/s" is no limit`},
		{"- {name: a, limit: 5/fortnight}", `FILE:1:20: "5/fortnight" is no limit`},
		{"- {name: a, limit: 5/90d}", `FILE:1:20: "5/90d" is no limit`},
		{"- {name: a, limit: [5/s]}", "FILE:1:20: limit wants one value"},
		{"- {name: a, limit: ~}", "FILE:1:20: limit wants one value"},
		{"- {name: a, limit: 5000001/s}", `FILE:1:20: rate limit "a": 5000001 in 1s is more than`},
		{"- {name: a, limit: 5/s, burst: none}", `FILE:1:32: "none" is no number of tokens`},
		{"- {name: a, limit: 5/s, burst: -1}", `FILE:1:32: "-1" is no number of tokens`},
		{"- {name: a, limit: 5/s, fail: soft}", `FILE:1:31: "soft" is no way to fail (write local, open or closed)`},
		{"- {name: a, limit: 5/s, count: fields}", `FILE:1:32: it cannot count "fields" (write requests or cost)`},
		{"- {name: a, limit: 5/s, per: []}", "FILE:1:30: per is empty"},
		{"- {name: a, limit: 5/s, per: [address]}", `FILE:1:31: rate limit "a": it cannot count by "address" (write identity, key, ip,`},
		{"- {name: a, limit: 5/s, per: [identiy]}", `FILE:1:31: rate limit "a": it cannot count by "identiy" (did you mean "identity"?)`},
		{"- {name: a, limit: 5/s, per: [ip, ip]}", `FILE:1:35: rate limit "a": ip is there twice`},
		{"- {name: a, limit: 5/s, per: argument:input.name}", `FILE:1:30: rate limit "a": argument:input.name: it is not said of which field (name the fields`},
		{"- {name: a, limit: 5/s, per: argument:input.nme, fields: Mutation.login}", `FILE:1:30: rate limit "a": Mutation.login has no argument "input.nme" (did you mean "argument:input.name"?)`},
		{"- {name: a, limit: 5/s, per: argument:input, fields: Mutation.login}", `FILE:1:30: rate limit "a": input of Mutation.login is of type LoginInput!, which cannot be counted by`},
		{"- {name: a, limit: 5/s, per: argument:input.name.x, fields: Mutation.login}", `FILE:1:30: rate limit "a": input.name of Mutation.login has nothing in it`},
		{"- {name: a, limit: 5/s, per: argument:input.name, fields: Mutation.*}", `FILE:1:30: rate limit "a": argument:input.name: fields of Mutation.* have different arguments`},
		{"- {name: a, limit: 5/s, per: argument:input.name, fields: [Mutation.login, Mutation.logout]}", `FILE:1:30: rate limit "a": Mutation.logout has no argument "input.name"`},
		{"- {name: a, limit: 5/s, fields: [Query.hello, Mutation.logn]}", `FILE:1:47: rate limit "a": the schema has no field Mutation.logn (did you mean "Mutation.login"?)`},
		{"- {name: a, limit: 5/s, fields: [login]}", `FILE:1:34: rate limit "a": "login" is no root field`},
		{"- {name: a, limit: 5/s, fields: [Item.id]}", `FILE:1:34: rate limit "a": Item is not among the types that operations begin with (these are Mutation and Query)`},
		{"- {name: a, limit: 5/s, operations: ['']}", `FILE:1:38: rate limit "a": "" is no name of an operation`},
		{"- {name: a b, limit: 5/s}", `FILE:1:3: rate limit "a b": a name has letters`},
		{"- {name: a, limit: 5/s}\n- {name: a, limit: 6/s}", `FILE:2:3: rate limit "a": there are two of this name`},
		{strings.Repeat("- {name: a, limit: 5/s}\n", maxRateRules+1), fmt.Sprintf("FILE:%d:3: there may be %d rules", maxRateRules+1, maxRateRules)},
	} {
		limits, err := parseRateLimits("FILE", []byte(c.text))
		var got string
		if err == nil {
			var rules *rateRules
			if rules, err = compileRates(w.planner.schema, limits); err == nil {
				got = rules.names()
			}
		}
		if err != nil {
			got = err.Error() + " (" + adviceOf(err) + ")"
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
		}
	}
	limits, err := parseRateLimits("FILE", []byte("- {name: a, per: [ip, operation], operations: B, limit: 5/2h, burst: 9, fail: open, count: cost}"))
	if l := limits[0]; err != nil || l.Limit != 5 || l.Window != 2*time.Hour || l.Burst != 9 || l.Fail != limiter.FailOpen || l.Count != "cost" || fmt.Sprint(l.Per, l.Operations) != "[ip operation] [B]" {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestParseLimit(t *testing.T) {
	for text, want := range map[string]string{
		"1000/1m": "1000 1m0s", "5/min": "5 1m0s", "10/s": "10 1s", "100000/1h": "100000 1h0m0s", "7 / 3d": "7 72h0m0s", "1/1m30s": "1 1m30s", "2/500ms": "2 500ms",
		"": "no", "5": "no", "/m": "no", "5/": "no", "-5/m": "no", "5/0m": "no", "5/-1s": "no", "1e3/m": "no", "5/99999999999999999999s": "no", "5/31d": "no", "5/m/m": "no",
	} {
		n, window, err := ParseLimit(text)
		if got := fmt.Sprint(n, " ", window); err == nil && got != want || err != nil && want != "no" {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

// Whatever is in a file, it is rules that can be used or an error that says where and
// what, and the same each time.
//
//	go test -run '^$' -fuzz FuzzRateLimits -fuzztime 1m ./worker
func FuzzRateLimits(f *testing.F) {
	for _, text := range []string{
		"[]", "- {name: a, limit: 5/min}", "- name: login\n  per: [ip, argument:input.name]\n  fields: Mutation.login\n  limit: 5/1m\n  burst: 2\n  fail: closed",
		"- {name: b, limit: 1/d, count: cost, operations: [A]}", "- &a {name: a, limit: 1/s}\n- *a", "- {<<: {name: a}}", "- !!str {}", "- {name: \"\\0\", limit: 1/s}",
	} {
		f.Add(text)
	}
	w, _ := rateWorker(f, Config{})
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > maxRateFile {
			t.Skip()
		}
		limits, err := parseRateLimits("FILE", []byte(text))
		_, again := parseRateLimits("FILE", []byte(text))
		if fmt.Sprint(err) != fmt.Sprint(again) {
			t.Errorf("%v, and then %v", err, again)
		}
		var rules *rateRules
		if err == nil {
			rules, err = compileRates(w.planner.schema, limits)
		}
		if err != nil {
			var advice interface{ Hint() string }
			if !strings.HasPrefix(err.Error(), "FILE") || !errors.As(err, &advice) || strings.ContainsAny(advice.Hint(), "\r\n") {
				t.Errorf("%q", err)
			}
			return
		}
		for i := range rules.rules {
			r := &rules.rules[i]
			if !isRuleName(r.policy.Name) || len(r.per) == 0 || r.policy.Limit < 1 || strings.ContainsAny(string(r.advertised), "\r\n") {
				t.Errorf("%+v", r)
			}
		}
	})
}

// A changed file is in force at the second look at it, without a restart and without
// forgetting anything; a bad one changes nothing, and the log says why, once.
func TestRateLimitFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "limits.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("- {name: identity, limit: 3/1m}")
	var out printed
	w, f := rateWorker(t, Config{RateLimits: []RateLimit{perMinute("identity", 3)}, Log: logtext.Logger(&out)})
	w.rates.file = &rateFile{path: path} // without looks of its own
	if _, err := w.rates.file.read(); err != nil {
		t.Fatal(err)
	}
	said := func() string {
		text := out.String()
		out = printed{}
		return strings.ReplaceAll(text, path, "FILE")
	}
	ask := func() string {
		ctx := w.ask("POST", "/graphql", asGraphQL, `{"query":"{hello}"}`)
		_, rate, _ := rateHeaders(ctx)
		return fmt.Sprint(ctx.Response.StatusCode(), " ", rate)
	}
	look := func() { w.rates.look() }
	if got := ask(); got != `200 "identity";r=2;t=40` {
		t.Fatal(got)
	}
	look()
	write("- {name: identity, limit: 6/1m}")
	look()
	if got := ask(); got != `200 "identity";r=1;t=20` {
		t.Errorf("%s: half of a file may be a good one", got)
	}
	look()
	if got := said(); got != "the rate limits in FILE have changed, and are in force: identity\n" {
		t.Error(got)
	}
	if got := ask(); got != `200 "identity";r=1;t=10` { // 40 s of 60 were used up
		t.Errorf("%s: the bucket goes on", got)
	}
	for _, bad := range []struct{ text, want string }{
		{"- {name: identity, limit: 9}", `warning: the rate limits stay as they were: FILE:1:27: "9" is no limit` + "\nhint: write how many in how long, like 1000/1m, 5/min, 10/s or 100000/1h\n"},
		{"", "warning: the rate limits stay as they were: FILE is empty\nhint: write a list of rules, each like \"- {name: identity, limit: 1000/1m}\"; [] is no limits\n"},
	} {
		write(bad.text)
		for range 4 {
			look()
		}
		if got := said(); got != bad.want {
			t.Errorf("%q", got)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look()
	look()
	if got := said(); got != "warning: the rate limits stay as they were: cannot read the rate limits in FILE: no such file or directory\nhint: name a YAML file with a list of rules\n" {
		t.Errorf("%q", got)
	}
	if got := ask(); got != `200 "identity";r=0;t=10` {
		t.Errorf("%s: the old rules are in force", got)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	look() // and does not wait for whoever writes to it
	if got := said(); !strings.HasPrefix(got, "warning: the rate limits stay as they were: cannot read the rate limits in FILE: it is no file\nhint: ") {
		t.Errorf("%q", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.now += time.Hour
	write("[]")
	look()
	look()
	if got := ask(); got != "200 " || said() != "the rate limits in FILE have changed, and are in force: there are none\n" {
		t.Error(got)
	}
}

// What stops a start.
func TestRateLimitsThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{RateLimits: []RateLimit{perMinute("a", 1)}}, "there are rate limits, and nothing that keeps count"},
		{Config{RateLimitFile: "/none"}, "there are rate limits, and nothing that keeps count"},
		{Config{Limiter: &fakeLimiter{}, RateLimitFile: "/none"}, "cannot read the rate limits in /none: no such file or directory"},
		{Config{Limiter: &fakeLimiter{}, RateLimits: []RateLimit{perMinute("a", 1)}, RateLimitFile: "/none"}, "there are rate limits in the Config, and in /none"},
		{Config{Limiter: &fakeLimiter{}, RateLimits: []RateLimit{{Name: "a"}}}, `rate limit "a": 0 in 0s is no limit`},
		{Config{Limiter: &fakeLimiter{}, RateLimits: []RateLimit{perMinute("a", 1, counting("x"))}}, `rate limit "a": it cannot count "x"`},
	} {
		c.config.Schema, c.config.Resolver = testSchema, newTestRoot()
		_, err := New(c.config)
		var advice interface{ Hint() string }
		if err == nil || err.Error() != c.want || !errors.As(err, &advice) || advice.Hint() == "" {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
