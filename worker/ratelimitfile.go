package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nekoctl/neko/limiter"
	"github.com/nekoctl/neko/logtext"
	"go.yaml.in/yaml/v4"
)

// rateFile is a file of rate limits that is taken into use when it changes, without a
// restart. The buckets go on: they go by name. What cannot be used leaves the rules in
// force, and the log says so once.
type rateFile struct {
	path string
	used [sha256.Size]byte // what was made of the file last, good or bad
	seen [sha256.Size]byte // what was in it at the last look
	said string
}

const (
	// rateFileInterval is how often the file is read.
	rateFileInterval = 500 * time.Millisecond
	// maxRateFile is more than maxRateRules take.
	maxRateFile = 256 << 10
)

// read is for the start: a file that cannot be used is an error.
func (f *rateFile) read() ([]RateLimit, error) {
	data, err := f.load()
	if err != nil {
		return nil, err
	}
	f.used = sha256.Sum256(data)
	f.seen = f.used
	return parseRateLimits(f.path, data)
}

func (f *rateFile) load() ([]byte, error) {
	// A pipe must not hold up whoever looks, until somebody writes to it.
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket|fs.ModeDevice) != 0 {
			return nil, &adviceError{fmt.Errorf("cannot read the rate limits in %s: it is no file", f.path), "name a YAML file with a list of rules: it is read again and again"}
		}
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(file, maxRateFile+1)); err == nil {
			if len(data) > maxRateFile {
				return nil, &adviceError{fmt.Errorf("%s: a file of rate limits has %d bytes at most", f.path, maxRateFile), "name the file with the rules"}
			}
			return data, nil
		}
	}
	var op *fs.PathError
	if errors.As(err, &op) {
		err = op.Err
	}
	hint := "name a YAML file with a list of rules"
	if errors.Is(err, fs.ErrPermission) {
		hint = "let the user of this process read it"
	}
	return nil, &adviceError{fmt.Errorf("cannot read the rate limits in %s: %w", f.path, err), hint}
}

// watch looks every now and then, until ctx ends.
func (r *rates) watch(ctx context.Context) {
	tick := time.NewTicker(rateFileInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.look()
		case <-ctx.Done():
			return
		}
	}
}

// look takes a changed file into use, when it is the same at two looks in a row: half
// of a file that is being written may be a good one, with fewer rules.
func (r *rates) look() {
	f, log := r.file, r.worker.config.Log
	data, err := f.load()
	var sum [sha256.Size]byte
	if err == nil {
		sum = sha256.Sum256(data)
		settled := sum == f.seen
		f.seen = sum
		if sum == f.used {
			if f.said != "" { // it could not be read, or had another content, and is as before
				f.said = ""
			}
			return
		}
		if !settled {
			return
		}
		f.used = sum
	}
	var rules *rateRules
	if err == nil {
		var limits []RateLimit
		if limits, err = parseRateLimits(f.path, data); err == nil {
			rules, err = compileRates(r.worker.planner.schema, limits)
		}
	}
	if err != nil {
		if text := err.Error(); text != f.said {
			f.said = text
			log.Warn("the rate limits stay as they were", logtext.Reason, text, logtext.Hint, adviceOf(err))
		}
		return
	}
	f.said = ""
	r.current.Store(rules)
	log.Info(fmt.Sprintf("the rate limits in %s have changed, and are in force: %s", f.path, rules.names()))
}

func (all *rateRules) names() string {
	if len(all.rules) == 0 {
		return "there are none"
	}
	var names []string
	for i := range all.rules {
		names = append(names, all.rules[i].policy.Name)
	}
	return strings.Join(names, ", ")
}

// parseRateLimits reads a list of rules. Nothing in it is ignored: what is unknown is
// an error with its place, and what it resembles.
func parseRateLimits(path string, data []byte) ([]RateLimit, error) {
	const form = `write a list of rules, each like "- {name: identity, limit: 1000/1m}"; [] is no limits`
	var doc, second yaml.Node
	documents := yaml.NewDecoder(bytes.NewReader(data))
	switch err := documents.Decode(&doc); {
	case err == io.EOF:
		return nil, &adviceError{fmt.Errorf("%s is empty", path), form}
	case err != nil:
		return nil, &adviceError{noYAML(path, err), form}
	}
	p := ruleParser{path}
	if err := documents.Decode(&second); err != io.EOF {
		return nil, &adviceError{fmt.Errorf("%s has more than one YAML document", path), "take out the line ---"}
	}
	root := doc.Content[0]
	if root.Kind != yaml.SequenceNode {
		return nil, p.fail(root, form, "it must be a list")
	}
	if len(root.Content) > maxRateRules {
		return nil, p.fail(root.Content[maxRateRules], "have one rule for several fields", "there may be %d rules", maxRateRules)
	}
	limits := make([]RateLimit, 0, len(root.Content))
	for _, n := range root.Content {
		l, err := p.rule(n)
		if err != nil {
			return nil, err
		}
		limits = append(limits, *l)
	}
	return limits, nil
}

// noYAML says where a file is none, in the form of all other mistakes.
func noYAML(path string, err error) error {
	var at *yaml.LoadError
	if !errors.As(err, &at) || at.Mark.Line < 1 {
		return fmt.Errorf("%s: %w", path, err)
	}
	return fmt.Errorf("%s:%d:%d: %s", path, at.Mark.Line, max(at.Mark.Column, 1), at.Message)
}

type ruleParser struct{ path string }

func (p ruleParser) at(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d: ", p.path, n.Line, n.Column)
}

func (p ruleParser) fail(n *yaml.Node, hint, format string, args ...any) error {
	return &adviceError{errors.New(p.at(n) + fmt.Sprintf(format, args...)), hint}
}

// alias is for what stands for something else in the file. A list of rules is short, and
// whoever reads one is to see what it says.
func (p ruleParser) alias(n *yaml.Node) error {
	return p.fail(n, "write out what it stands for", "aliases like *%s are not taken here", shorten(n.Value))
}

// ruleKeys are those of a rule, in the order in which they are explained.
var ruleKeys = []string{"name", "per", "operations", "fields", "count", "limit", "burst", "fail"}

func (p ruleParser) rule(n *yaml.Node) (*RateLimit, error) {
	const form = "write it like {name: login, per: [ip], fields: [Mutation.login], limit: 5/1m}"
	switch n.Kind {
	case yaml.MappingNode:
	case yaml.AliasNode:
		return nil, p.alias(n)
	default:
		return nil, p.fail(n, form, "a rule must have keys and values")
	}
	l := &RateLimit{places: &places{rule: p.at(n)}}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || !slices.Contains(ruleKeys, key.Value) {
			hint := didYouMean(ruleKeys, key.Value)
			switch {
			case key.Value == "<<":
				hint = "write out what it merges: there are no aliases here"
			case hint == "":
				hint = "a rule has " + strings.Join(ruleKeys, ", ")
			}
			return nil, p.fail(key, hint, "unknown key %q", shorten(key.Value))
		}
		if line := first[key.Value]; line > 0 {
			return nil, p.fail(key, "keep one of them", "%q is already set in line %d", key.Value, line)
		}
		first[key.Value] = key.Line
		if err := p.set(l, key.Value, value); err != nil {
			return nil, err
		}
	}
	for _, key := range []string{"name", "limit"} {
		if first[key] == 0 {
			return nil, p.fail(n, form, "the rule has no %s", key)
		}
	}
	return l, nil
}

// set takes one key into l.
func (p ruleParser) set(l *RateLimit, key string, value *yaml.Node) (err error) {
	var list *[]string
	var where *[]string
	switch key {
	case "per":
		list, where = &l.Per, &l.places.per
	case "operations":
		list, where = &l.Operations, &l.places.operations
	case "fields":
		list, where = &l.Fields, &l.places.fields
	}
	if list != nil {
		nodes := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			nodes = value.Content
			if len(nodes) == 0 {
				return p.fail(value, "leave the key out for the default", "%s is empty", key)
			}
		}
		for _, n := range nodes {
			text, err := p.text(n, key)
			if err != nil {
				return err
			}
			*list, *where = append(*list, text), append(*where, p.at(n))
		}
		return nil
	}
	text, err := p.text(value, key)
	if err != nil {
		return err
	}
	switch key {
	case "name":
		l.Name = text
	case "count":
		if text != "requests" && text != "cost" {
			return p.fail(value, "write requests or cost", "it cannot count %q", shorten(text))
		}
		l.Count = text
	case "limit":
		l.places.limit = p.at(value)
		if l.Limit, l.Window, err = ParseLimit(text); err != nil {
			return p.fail(value, adviceOf(err), "%v", err)
		}
	case "burst":
		if l.Burst, err = strconv.ParseInt(text, 10, 64); err != nil || l.Burst < 1 {
			return p.fail(value, "write it like 100; without a burst it is the limit", "%q is no number of tokens", shorten(text))
		}
	case "fail":
		for _, f := range []limiter.Fail{limiter.FailLocal, limiter.FailOpen, limiter.FailClosed} {
			if f.String() == text {
				l.Fail = f
				return nil
			}
		}
		return p.fail(value, "write local, open or closed", "%q is no way to fail", shorten(text))
	}
	return nil
}

// text is the value of a key that has one, as it is written: 5 is no other than "5".
func (p ruleParser) text(n *yaml.Node, key string) (string, error) {
	if n.Kind == yaml.AliasNode {
		return "", p.alias(n)
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return "", p.fail(n, "see docs/graphql.md for the keys of a rule", "%s wants one value", key)
	}
	return n.Value, nil
}

// ParseLimit reads how much in how long: 1000/1m, 5/min, 10/s, 100000/1h, 7/3d. An error
// has a method Hint() string.
func ParseLimit(text string) (limit int64, window time.Duration, err error) {
	bad := &adviceError{fmt.Errorf("%q is no limit", shorten(text)), "write how many in how long, like 1000/1m, 5/min, 10/s or 100000/1h"}
	number, span, ok := strings.Cut(text, "/")
	if !ok {
		return 0, 0, bad
	}
	if limit, err = strconv.ParseInt(strings.TrimSpace(number), 10, 64); err != nil || limit < 1 {
		return 0, 0, bad
	}
	span = strings.TrimSpace(span)
	if unit, ok := spanUnits[span]; ok {
		return limit, unit, nil
	}
	digits := strings.TrimLeft(span, "0123456789")
	if unit, ok := spanUnits[strings.TrimSpace(digits)]; ok {
		n, err := strconv.ParseInt(span[:len(span)-len(digits)], 10, 64)
		if err != nil || n < 1 || n > int64(limiter.MaxWindow/unit) {
			return 0, 0, bad
		}
		return limit, time.Duration(n) * unit, nil
	}
	if window, err = time.ParseDuration(span); err != nil || window <= 0 {
		return 0, 0, bad
	}
	return limit, window, nil
}

var spanUnits = map[string]time.Duration{
	"s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
}
