package redis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"

	"github.com/redis/rueidis"
)

var (
	//go:embed grant.lua
	grantText string
	//go:embed return.lua
	returnText string
	//go:embed beat.lua
	beatText string
)

// script runs by its hash, and with its text where a server does not know it: one that
// was started anew, or flushed, or has become a master.
//
// rueidis.Lua would load it into every node before each batch, and fail if one is away.
type script struct{ text, hash string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

// run is one of the runs of a script, all of which are for one key.
type run struct {
	key  string
	args []string
}

func (s script) byHash(c rueidis.Client, r run) rueidis.Completed {
	return c.B().Evalsha().Sha1(s.hash).Numkeys(1).Key(r.key).Arg(r.args...).Build()
}

func (s script) byText(c rueidis.Client, r run) rueidis.Completed {
	return c.B().Eval().Script(s.text).Numkeys(1).Key(r.key).Arg(r.args...).Build()
}

func unknown(r rueidis.RedisResult) bool {
	e, ok := rueidis.IsRedisErr(r.Error())
	return ok && e.IsNoScript()
}

func (s script) do(ctx context.Context, c rueidis.Client, r run) rueidis.RedisResult {
	result := c.Do(ctx, s.byHash(c, r))
	if unknown(result) {
		result = c.Do(ctx, s.byText(c, r))
	}
	return result
}

// doAll sends all runs at once, to each node what it has.
func (s script) doAll(ctx context.Context, c rueidis.Client, runs []run) []rueidis.RedisResult {
	commands := make([]rueidis.Completed, len(runs))
	for i, r := range runs {
		commands[i] = s.byHash(c, r)
	}
	results := c.DoMulti(ctx, commands...)
	var again []int
	commands = commands[:0]
	for i, r := range results {
		if unknown(r) {
			again = append(again, i)
			commands = append(commands, s.byText(c, runs[i]))
		}
	}
	if len(again) > 0 {
		for i, r := range c.DoMulti(ctx, commands...) {
			results[again[i]] = r
		}
	}
	return results
}
