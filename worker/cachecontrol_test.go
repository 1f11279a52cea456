package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nekoctl/neko/cache"
)

const cachingDirectives = `
	enum CacheControlScope { PUBLIC PRIVATE }
	directive @cacheControl(maxAge: Int, scope: CacheControlScope, inheritMaxAge: Boolean, staleWhileRevalidate: Int)
	  on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
	directive @cacheTag(format: String!) repeatable on FIELD_DEFINITION
	enum Role { ANYONE READER ADMIN }
	directive @requires(role: Role!) on FIELD_DEFINITION | OBJECT
`

// newCachingPlanner plans for a schema besides those directives.
func newCachingPlanner(t testing.TB, schema string, c Config) (*planner, error) {
	t.Helper()
	var err error
	if c.Cache, err = cache.New(cache.Options{Bytes: cache.MinBytes}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Cache.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	c.Schema = cachingDirectives + schema
	return newPlanner(c.withDefaults())
}

// caching is how the answers of an operation are kept, in words.
func (p *planner) cachingOf(t testing.TB, query string) string {
	t.Helper()
	plan, errs := p.plan(t.Context(), query, "")
	if errs != nil {
		t.Fatalf("%s: %s", query, errs[0].Message)
	}
	cp := plan.caching
	if cp == nil {
		return "no"
	}
	s := fmt.Sprint(int(cp.policy.MaxAge / time.Second))
	if cp.private {
		s += " private"
	}
	return s
}

// The rules of Apollo Server, with the examples of its documentation, and where we are
// stricter.
func TestCacheControl(t *testing.T) {
	const schema = `
	type Query {
		book: Book
		cachedBook: Book @cacheControl(maxAge: 60)
		reader: Reader @cacheControl(maxAge: 40)
		plain: String
		plainCached: String @cacheControl(maxAge: 20)
		rootInherits: Book @cacheControl(inheritMaxAge: true)
		post: Post
		inherits: Inherits
		mine: Post @cacheControl(scope: PRIVATE)
		public: Secret @cacheControl(scope: PUBLIC)
		secret: Secret
		short: Post @cacheControl(maxAge: 5)
		long: Post @cacheControl(maxAge: 5000)
		never: Post @cacheControl(maxAge: 0)
		posts: [Post!]!
		thing: Thing
		longThing: Thing @cacheControl(maxAge: 1000)
		either: Either
		bare: Bare
		inheritingUnion: Bare @cacheControl(maxAge: 30)
		nullMaxAge: Post @cacheControl(maxAge: null)
	}
	type Mutation { write: Post }
	type Book { title: String cachedTitle: String @cacheControl(maxAge: 30) author: Author owner: Author @cacheControl(inheritMaxAge: true) }
	type Author { name: String }
	type Reader { book: Book @cacheControl(inheritMaxAge: true) other: Book self: Reader @cacheControl(inheritMaxAge: true, scope: PRIVATE) posts: Post @cacheControl(inheritMaxAge: true, maxAge: 1) }
	type Post @cacheControl(maxAge: 240) {
		id: ID!
		title: String
		votes: Int @cacheControl(maxAge: 30)
		comments: [Comment]
		readByMe: Boolean! @cacheControl(maxAge: 10, scope: PRIVATE)
		page: Inherits!
	}
	type Comment @cacheControl(maxAge: 100) { post: Post! text: String }
	type Inherits @cacheControl(inheritMaxAge: true) { text: String post: Post }
	type Secret @cacheControl(maxAge: 50, scope: PRIVATE) { text: String }
	interface Thing @cacheControl(maxAge: 500) { name: String }
	type Slow implements Thing { name: String @cacheControl(maxAge: 400) }
	type Quick implements Thing @cacheControl(maxAge: 70) { name: String @cacheControl(maxAge: 35) }
	union Either @cacheControl(maxAge: 90) = Secret | Slow
	union Bare = Slow | Quick
	`
	p, err := newCachingPlanner(t, schema, Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ why, query, want string }{
		{"a root field without a hint is not kept", `{book {title}}`, "no"},
		{"a field of a cached parent that is a scalar adds nothing", `{cachedBook {title}}`, "60"},
		{"the least counts", `{cachedBook {title cachedTitle}}`, "30"},
		{"an object in a cached parent has the default", `{cachedBook {author {name}}}`, "no"},
		{"unless it inherits", `{cachedBook {owner {name}}}`, "60"},
		{"an object inherits from its parent", `{reader {book {title}}}`, "40"},
		{"what a field inherits is its own", `{reader {book {cachedTitle}}}`, "30"},
		{"the same object by a field that does not inherit", `{reader {other {title}}}`, "no"},
		{"a scope beside inheritMaxAge", `{reader {self {__typename}}}`, "40 private"},
		{"the maxAge of a type beats inheritMaxAge, and what stands beside that", `{reader {posts {title}}}`, "40"},
		{"a root scalar without a hint", `{plain}`, "no"},
		{"a root scalar with one", `{plainCached}`, "20"},
		{"a root field inherits from nothing", `{rootInherits {title}}`, "no"},
		{"a type's hint", `{post {title}}`, "240"},
		{"of a list too", `{posts {title}}`, "240"},
		{"a type that inherits", `{post {page {text}}}`, "240"},
		{"at the root it inherits from nothing", `{inherits {text}}`, "no"},
		{"a field's hint beats its type's: less", `{short {title}}`, "5"},
		{"and more", `{long {title}}`, "5000"},
		{"and zero", `{never {title}}`, "no"},
		{"null is nothing", `{nullMaxAge {title}}`, "240"},
		{"each argument by itself", `{mine {title}}`, "240 private"},
		{"a type's scope", `{secret {text}}`, "50 private"},
		{"a field's scope beats it", `{public {text}}`, "50"},
		{"PRIVATE anywhere makes all private", `{post {title} secret {text}}`, "50 private"},
		{"and its maxAge counts", `{post {readByMe}}`, "10 private"},
		{"the default anywhere makes all of it", `{post {title} book {title}}`, "no"},
		{"deep down too", `{post {comments {post {votes}}}}`, "30"},
		{"through fragments", `{...F} fragment F on Query {post {... on Post {votes}}}`, "30"},
		{"whatever @skip says", `query($x: Boolean!) {post {title votes @skip(if: $x) readByMe @include(if: false)}}`, "10 private"},
		{"under an alias", `{a: post {b: votes}}`, "30"},

		{"an interface: no possible type says less", `{thing {__typename}}`, "70"},
		{"nor does a field's hint", `{longThing {__typename}}`, "70"},
		{"a field of an interface: no possible type's says less", `{longThing {name}}`, "35"},
		{"a field of a type of it", `{longThing {... on Slow {name}}}`, "70"},
		{"a union", `{either {__typename}}`, "50 private"},
		{"a union without a hint has the default, as in Apollo", `{bare {__typename}}`, "no"},
		{"unless its field says one", `{inheritingUnion {__typename}}`, "30"},

		{"nothing but __typename", `{__typename}`, "no"},
		{"introspection", `{__schema {description} post {title}}`, "no"},
		{"__type", `{post {title} __type(name: "Post") {name}}`, "no"},
		{"a mutation", `mutation {write {title}}`, "no"},
	} {
		if got := p.cachingOf(t, c.query); got != c.want {
			t.Errorf("%s: %s: %s, want %s", c.why, c.query, got, c.want)
		}
	}

	p, err = newCachingPlanner(t, schema, Config{CacheDefaultMaxAge: 12 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		`{book {title}}`: "12", `{plain}`: "12", `{cachedBook {author {name}}}`: "12", `{post {title}}`: "240", `{never {title}}`: "no", `{rootInherits {title}}`: "12",
		`{cachedBook {owner {name}}}`: "60", `{__typename}`: "no", `mutation {write {title}}`: "no",
	} {
		if got := p.cachingOf(t, query); got != want {
			t.Errorf("with a default: %s: %s, want %s", query, got, want)
		}
	}
}

// For how long an answer is served that is over: what the schema says, what the
// Config says, or a tenth, in whole seconds.
func TestStaleness(t *testing.T) {
	const schema = `type Query {
		a: String @cacheControl(maxAge: 600, staleWhileRevalidate: 7)
		b: String @cacheControl(maxAge: 600, staleWhileRevalidate: 20)
		c: String @cacheControl(maxAge: 600)
		d: String @cacheControl(maxAge: 5)
		e: String @cacheControl(maxAge: 600, staleWhileRevalidate: 0)
		f: T
		g: T @cacheControl(staleWhileRevalidate: 3)
		h: String @cacheControl(maxAge: 2000000)
	}
	type T @cacheControl(maxAge: 60, staleWhileRevalidate: 50) { x: String }`
	for _, c := range []struct {
		config Config
		query  string
		want   cache.Policy
	}{
		{Config{}, `{a}`, cache.Policy{MaxAge: 600 * time.Second, StaleWhileRevalidate: 7 * time.Second}},
		{Config{}, `{b a}`, cache.Policy{MaxAge: 600 * time.Second, StaleWhileRevalidate: 7 * time.Second}},
		{Config{}, `{b c}`, cache.Policy{MaxAge: 600 * time.Second, StaleWhileRevalidate: 20 * time.Second}},
		{Config{}, `{c}`, cache.Policy{MaxAge: 600 * time.Second, StaleWhileRevalidate: 60 * time.Second}},
		{Config{}, `{d}`, cache.Policy{MaxAge: 5 * time.Second, StaleWhileRevalidate: time.Second}},
		{Config{}, `{a e}`, cache.Policy{MaxAge: 600 * time.Second}},
		{Config{}, `{f {x}}`, cache.Policy{MaxAge: 60 * time.Second, StaleWhileRevalidate: 50 * time.Second}},
		{Config{}, `{g {x}}`, cache.Policy{MaxAge: 60 * time.Second, StaleWhileRevalidate: 3 * time.Second}},
		{Config{CacheStaleWhileRevalidate: 8 * time.Second}, `{c}`, cache.Policy{MaxAge: 600 * time.Second, StaleWhileRevalidate: 8 * time.Second}},
		{Config{CacheStaleWhileRevalidate: -1}, `{c}`, cache.Policy{MaxAge: 600 * time.Second}},
		{Config{CacheStaleWhileRevalidate: -1}, `{a}`, cache.Policy{MaxAge: 600 * time.Second, StaleWhileRevalidate: 7 * time.Second}},
		{Config{CacheStaleIfError: time.Minute}, `{a}`, cache.Policy{MaxAge: 600 * time.Second, StaleWhileRevalidate: 7 * time.Second, StaleIfError: time.Minute}},
		{Config{CacheStaleIfError: -1}, `{h}`, cache.Policy{MaxAge: cache.MaxLife}},
	} {
		p, err := newCachingPlanner(t, schema, c.config)
		if err != nil {
			t.Fatal(err)
		}
		plan, errs := p.plan(t.Context(), c.query, "")
		if errs != nil {
			t.Fatal(errs[0])
		}
		got := plan.caching.policy
		if c.config.CacheStaleIfError == 0 { // the default
			if got.StaleIfError != cache.MaxLife-got.MaxAge {
				t.Errorf("%s: %v after an error", c.query, got.StaleIfError)
			}
			got.StaleIfError = 0
		}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.query, got, c.want)
		}
	}
}

// What is wrong in a schema is said when the program starts, with its place.
func TestWrongCaching(t *testing.T) {
	for directive, want := range map[string]string{
		`@cacheControl(maxAge: -1)`:                             `Query.a: @cacheControl(maxAge: -1): it must be a number of seconds, from 0 to 2147483647 (schema.graphql:9:14)`,
		`@cacheControl(maxAge: 99999999999)`:                    `it must be a number of seconds`,
		`@cacheControl(maxAge: 1.5)`:                            `it must be a number of seconds`,
		`@cacheControl(maxAge: "60")`:                           `it must be a number of seconds`,
		`@cacheControl(staleWhileRevalidate: -5)`:               `@cacheControl(staleWhileRevalidate: -5): it must be a number`,
		`@cacheControl(scope: SECRET)`:                          `@cacheControl(scope: SECRET): it must be PUBLIC or PRIVATE`,
		`@cacheControl(scope: "PRIVATE")`:                       `it must be PUBLIC or PRIVATE`,
		`@cacheControl(inheritMaxAge: 1)`:                       `@cacheControl(inheritMaxAge: 1): it must be true or false`,
		`@cacheControl(age: 1)`:                                 `Undefined argument age`,
		`@cacheTag(format: "")`:                                 `it must have 1 to 128 characters`,
		`@cacheTag(format: "A b")`:                              `" " cannot be in a tag`,
		`@cacheTag(format: "A,b")`:                              `"," cannot be in a tag`,
		`@cacheTag(format: "T:{$key.id}")`:                      `"{" cannot be in a tag; an argument is written {$args.NAME}`,
		`@cacheTag(format: "T:{$args.x}")`:                      `there is no argument "x"`,
		`@cacheTag(format: "T:{$args.id")`:                      `{$args.id lacks its }`,
		`@cacheTag(format: "T:{$args.in}")`:                     `the argument "in" is of type In`,
		`@cacheTag(format: "T:{$args.ids}")`:                    `the argument "ids" is of type [ID!]`,
		`@cacheTag(format: "x:{$args.id}")`:                     `it must begin with a type and a colon`,
		`@cacheTag(format: "é")`:                                `cannot be in a tag`,
		`@cacheTag(format: "` + strings.Repeat("x", 129) + `")`: `it must have 1 to 128 characters`,
	} {
		_, err := newCachingPlanner(t, "\n"+`type Query { a(id: ID, ids: [ID!], in: In): String `+directive+` }
		input In { x: Int }
		type T { id: ID! }`, Config{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "schema: ") {
			t.Errorf("%s: %v, want %s", directive, err, want)
		}
	}
}

// A schema of its own names and no directives plans as ever.
func TestNoCaching(t *testing.T) {
	w := newTestWorker(t, Config{})
	plan, errs := w.planner.plan(t.Context(), `{hello}`, "")
	if errs != nil || plan.caching != nil {
		t.Errorf("%v %v", plan.caching, errs)
	}
}
