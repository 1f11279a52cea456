package ecosystem

import (
	"regexp"
	"strings"
	"sync"

	"github.com/nekoctl/neko/pm2/object"
)

// hidden are the usual ways to write in a regular expression that a name begins with a
// dot.
var hidden = []string{`[\/\\]\.`, `[\\/]\.`, `[/\\]\.`, `(^|[\/\\])\..`, `(^|[\/\\])\.`, `(^|[/\\])\..`, `(^|[\\/])\..`, `\/\.`, `/\.`}

var literalPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\^?((?:[\w\s@/-]|\\[./\\_-])+)(?:\.\*)?\$?$`)
})

// globOf makes a glob of an entry of ignore_watch: of a text that is one already, or of
// a simple regular expression of JavaScript's.
func globOf(entry any) (string, bool) {
	o, isObject := entry.(*object.Object)
	if !isObject {
		text, isText := entry.(string)
		return text, isText && text != ""
	}
	source, ok := o.Get(regexpMark).(string)
	if !ok {
		return "", false
	}
	for _, h := range hidden {
		if source == h {
			return ".*", true
		}
	}
	m := literalPattern().FindStringSubmatch(source)
	if m == nil {
		return "", false
	}
	name := strings.NewReplacer(`\.`, `.`, `\/`, `/`, `\-`, `-`, `\_`, `_`, `\\`, `/`).Replace(m[1])
	whole := strings.HasPrefix(name, "/") || strings.HasPrefix(source, "^")
	ends := strings.HasSuffix(name, "/") || strings.HasSuffix(source, "$")
	name = strings.Trim(name, "/")
	if name == "" {
		return "", false
	}
	if !whole {
		name = "*" + name
	}
	if !ends {
		name += "*"
	}
	if strings.Contains(name, "/") && !strings.HasPrefix(source, "^") {
		name = "**/" + name
	}
	return name, true
}

// regexpMark is the key by which the evaluator tells a regular expression.
const regexpMark = "neko:regexp"

func shownPattern(entry any) string {
	if o, ok := entry.(*object.Object); ok && o.Has(regexpMark) {
		return "/" + asText(o.Get(regexpMark)) + "/" + asText(o.Get("flags"))
	}
	return shown(entry)
}
