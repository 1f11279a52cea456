package mongo

import (
	"cmp"
	"errors"
	"net/url"
	"sort"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/nekoctl/neko/api/store"
)

// DefaultDatabase is the database of a URL that names none.
const DefaultDatabase = "neko"

// target is what a URL says.
type target struct {
	where    string // without credentials and options
	database string
	secret   *secrets
	client   *options.ClientOptions
}

// parts of a URL, found without judging them: a URL that is wrong has secrets too.
type parts struct {
	scheme, user, hosts, path, query string
}

func split(s string) (p parts, ok bool) {
	p.scheme, s, ok = strings.Cut(s, "://")
	if !ok || p.scheme != "mongodb" && p.scheme != "mongodb+srv" {
		return p, false
	}
	// A password that is not encoded may have any character, so what is before the
	// last @ is all taken for the user, unless it is among the options.
	rest, query, _ := strings.Cut(s, "?")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		p.user, rest = rest[:i], rest[i+1:]
	} else if i := strings.LastIndexByte(s, '@'); i >= 0 && !strings.Contains(s[:i], "/?") {
		p.user = s[:i]
		rest, query, _ = strings.Cut(s[i+1:], "?")
	}
	p.query = query
	p.hosts, p.path, _ = strings.Cut(rest, "/")
	return p, true
}

// isSecret tells of an option whether its value must not be shown.
func isSecret(option string) bool {
	o := strings.ToLower(option)
	return strings.Contains(o, "password") || strings.Contains(o, "properties") || strings.Contains(o, "token") || strings.Contains(o, "proxy")
}

// without gives the URL without user and secret options.
func (p parts) without() string {
	var kept []string
	for o := range strings.SplitSeq(p.query, "&") {
		name, _, _ := strings.Cut(o, "=")
		if o != "" && !isSecret(name) && !strings.EqualFold(name, "authMechanism") && !strings.EqualFold(name, "authSource") {
			kept = append(kept, o)
		}
	}
	return p.scheme + "://" + p.hosts + "/" + p.path + "?" + strings.Join(kept, "&")
}

// secrets are the parts of a URL that nobody is to see.
type secrets struct{ texts []string }

func (s *secrets) add(t string) {
	forms := []string{t, url.QueryEscape(t), url.PathEscape(t)}
	if u, err := url.PathUnescape(t); err == nil {
		forms = append(forms, u)
	}
	for _, f := range forms {
		if len(f) > 2 { // what is shorter is in every text
			s.texts = append(s.texts, f)
		}
	}
	// A part of one is hidden after the whole.
	sort.SliceStable(s.texts, func(i, j int) bool { return len(s.texts[i]) > len(s.texts[j]) })
}

// hide replaces what is secret in a text.
func (s *secrets) hide(text string) string {
	if s == nil {
		return text
	}
	for _, t := range s.texts {
		text = strings.ReplaceAll(text, t, "***")
	}
	return text
}

// Is tells whether a store's name is a URL for [Open].
func Is(name string) bool {
	_, ok := split(name)
	return ok
}

// Where is the URL without credentials and options: what people may see.
func Where(u string) string {
	p, _ := split(u)
	where := p.scheme + "://" + p.hosts + "/"
	if name, err := databaseOf(p); err == nil {
		where += name
	}
	return where
}

func databaseOf(p parts) (string, error) {
	if p.path == "" {
		return DefaultDatabase, nil
	}
	name, err := url.PathUnescape(p.path)
	if err != nil || name == "" || len(name) > 63 || strings.ContainsAny(name, "/\\. \"$*<>:|?\x00") {
		return "", errors.New("the path is no name of a database")
	}
	return name, nil
}

// parse reads a URL and fills in what it does not say.
func parse(u string, workers int) (*target, error) {
	p, ok := split(u)
	if !ok {
		return nil, &store.OpenError{Where: "mongodb://", Err: errors.New("it is no URL of MongoDB"), Advice: "write mongodb://HOST/DATABASE, or mongodb+srv://HOST/DATABASE"}
	}
	t := &target{where: Where(u), secret: &secrets{}}
	if p.user != "" {
		if _, password, ok := strings.Cut(p.user, ":"); ok {
			t.secret.add(password)
		}
		t.secret.add(p.user)
	}
	for o := range strings.SplitSeq(p.query, "&") {
		if name, v, _ := strings.Cut(o, "="); isSecret(name) {
			t.secret.add(v)
		}
	}
	bad := func(reason, advice string) (*target, error) {
		return nil, &store.OpenError{Where: t.where, Err: errors.New(reason), Advice: advice}
	}
	var err error
	if t.database, err = databaseOf(p); err != nil {
		return bad(err.Error(), "write mongodb://HOST/DATABASE; what is not a letter or a digit in user and password must be percent-encoded")
	}
	t.client = options.Client().ApplyURI(u)
	if err := t.client.Validate(); err != nil {
		// The driver's own words may have a part of a password in them, unless it is
		// given a URL that has none.
		const advice = "see docs/mongodb.md, and https://www.mongodb.com/docs/manual/reference/connection-string/ for all options"
		if err := options.Client().ApplyURI(p.without()).Validate(); err != nil {
			return bad("the URL cannot be read: "+t.secret.hide(err.Error()), advice)
		}
		return bad("user, password or their options in the URL cannot be read", "what is not a letter or a digit in user and password must be percent-encoded: @ is %40, : is %3A, / is %2F")
	}
	c := t.client
	if c.AppName == nil {
		c.SetAppName("neko-api")
	}
	if c.MaxPoolSize == nil {
		c.SetMaxPoolSize(PoolSize(workers))
	}
	if c.ServerSelectionTimeout == nil {
		c.SetServerSelectionTimeout(5 * time.Second)
	}
	if c.ConnectTimeout == nil {
		c.SetConnectTimeout(5 * time.Second)
	}
	if c.WriteConcern == nil {
		c.SetWriteConcern(writeconcern.Majority())
	}
	// A server that stands alone knows no majority.
	if c.ReadConcern == nil && (c.ReplicaSet != nil || len(c.Hosts) > 1 || p.scheme == "mongodb+srv") {
		c.SetReadConcern(readconcern.Majority())
	}
	return t, nil
}

// PoolSize is how many connections a worker has at most, of so many on its host: a
// hundred together, but enough that one slow query does not hold up the others.
func PoolSize(workers int) uint64 {
	return uint64(min(max(100/max(cmp.Or(workers, 1), 1), 4), 100))
}
