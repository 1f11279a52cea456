package redisconn

import (
	"context"
	"crypto/sha1"
	"encoding/hex"

	"github.com/redis/rueidis"
)

// Script runs by its hash, and with its text where a server does not know it: one that
// was started anew, or flushed, or has become a master.
//
// rueidis.Lua would load it into every node before each batch, and fail if one is away.
type Script struct{ text, hash string }

// NewScript is a script with this text.
func NewScript(text string) Script {
	sum := sha1.Sum([]byte(text))
	return Script{text, hex.EncodeToString(sum[:])}
}

// Run is one of the runs of a script, all of which are for one key.
type Run struct {
	Key  string
	Args []string
}

func (s Script) byHash(c rueidis.Client, r Run) rueidis.Completed {
	return c.B().Evalsha().Sha1(s.hash).Numkeys(1).Key(r.Key).Arg(r.Args...).Build()
}

func (s Script) byText(c rueidis.Client, r Run) rueidis.Completed {
	return c.B().Eval().Script(s.text).Numkeys(1).Key(r.Key).Arg(r.Args...).Build()
}

func unknown(r rueidis.RedisResult) bool {
	e, ok := rueidis.IsRedisErr(r.Error())
	return ok && e.IsNoScript()
}

// Do runs it once.
func (s Script) Do(ctx context.Context, c rueidis.Client, r Run) rueidis.RedisResult {
	result := c.Do(ctx, s.byHash(c, r))
	if unknown(result) {
		result = c.Do(ctx, s.byText(c, r))
	}
	return result
}

// DoAll sends all runs at once, to each node what it has.
func (s Script) DoAll(ctx context.Context, c rueidis.Client, runs []Run) []rueidis.RedisResult {
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
