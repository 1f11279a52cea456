package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// subcommand is one of the commands, with how its line looks.
type subcommand struct {
	words   string // "user add"
	args    []string
	options []string // the flags of its own
	run     func(o *options, args []string, s streams) error
}

var commands = []subcommand{
	{"serve", nil, nil, func(o *options, _ []string, _ streams) error { return serve(o) }},
	{"import", []string{"FILE|-"}, []string{"quiet"}, importBundle},
	{"purge", []string{"TAG..."}, []string{"all", "json"}, purge},
	{"migrate", nil, []string{"dry-run"}, migrate},
	{"backup", []string{"FILE|-"}, []string{"json", "quiet"}, backup},
	{"restore", []string{"FILE|-"}, []string{"keep-accounts", "revoke-keys", "no-copy", "json", "quiet"}, restore},
	{"user add", []string{"NAME"}, []string{"role", "password-stdin"}, addUser},
	{"user list", nil, []string{"json"}, listUsers},
	{"user disable", []string{"NAME"}, nil, disableUser},
	{"user enable", []string{"NAME"}, nil, enableUser},
	{"user password", []string{"NAME"}, []string{"password-stdin"}, changePassword},
	{"user role", []string{"NAME", "ROLE"}, nil, changeRole},
	{"key add", []string{"NAME"}, []string{"role", "scope", "expires", "owner"}, addKey},
	{"key list", nil, []string{"json"}, listKeys},
	{"key revoke", []string{"ID"}, nil, revokeKey},
	{"signing-key list", nil, []string{"json"}, listSigningKeys},
	{"signing-key rotate", nil, []string{"now"}, rotateSigningKey},
	{"version", nil, nil, printVersion},
	{"help", nil, nil, func(o *options, _ []string, s streams) error { help(s, o, nil); return nil }},
}

// dispatch runs the command that words begin with.
func dispatch(o *options, words []string, s streams) error {
	if len(words) == 0 {
		words = []string{"serve"}
	}
	c, args := find(words)
	switch {
	case c == nil && len(group(words[0])) > 0 && len(words) > 1:
		return usageError{fmt.Sprintf("unknown command %q", words[0]+" "+words[1]), "see neko-api " + words[0] + " --help"}
	case c == nil && len(group(words[0])) > 0:
		return usageError{words[0] + " wants a command", "see neko-api " + words[0] + " --help"}
	case c == nil:
		return usageError{fmt.Sprintf("unknown command %q", words[0]), "see neko-api --help"}
	}
	for _, name := range o.Options() {
		if !slices.Contains(c.options, name) {
			return usageError{fmt.Sprintf("--%s is not for %s", name, c.words), "see neko-api --help"}
		}
	}
	if !c.takesAny() && len(args) != len(c.args) {
		return c.wrongArgs(args)
	}
	return c.run(o, args, s)
}

func find(words []string) (*subcommand, []string) {
	for i, c := range commands {
		if n := 1 + strings.Count(c.words, " "); len(words) >= n && strings.Join(words[:n], " ") == c.words {
			return &commands[i], words[n:]
		}
	}
	return nil, nil
}

// group are the commands of two words that begin with this one.
func group(word string) (list []subcommand) {
	for _, c := range commands {
		if strings.HasPrefix(c.words, word+" ") {
			list = append(list, c)
		}
	}
	return list
}

// takesAny says that it takes any number of arguments, and looks at them itself.
func (c *subcommand) takesAny() bool {
	return len(c.args) > 0 && strings.HasSuffix(c.args[len(c.args)-1], "...")
}

func (c *subcommand) wrongArgs(args []string) error {
	hint := strings.Join(append([]string{"neko-api", c.words}, c.args...), " ")
	switch {
	case c.words == "import":
		return usageError{"import wants one file", "neko-api import FILE, or - for standard input"}
	case len(c.args) == 0:
		return usageError{fmt.Sprintf("%s wants no argument, and was given %q", c.words, args[0]), "see neko-api --help"}
	case len(args) > len(c.args):
		return usageError{fmt.Sprintf("%s was given %q beyond what it wants", c.words, args[len(c.args)]), hint}
	}
	return usageError{c.words + " wants " + strings.Join(c.args[len(args):], " and "), hint}
}

const usage = `neko-api serves threat intelligence over GraphQL.

Usage:
  neko-api [serve] [--listen ADDR] [--store STORE] [...]
  neko-api import FILE|-        load a STIX 2.0 or 2.1 bundle, plain or .gz; --quiet says nothing but errors
  neko-api purge TAG...         have all workers forget answers that they keep: neko-api purge --help
  neko-api migrate [--dry-run]  bring the store to the schema of this version
  neko-api backup FILE|-        write what a SQLite store has into a file, while workers serve: neko-api backup --help
  neko-api restore FILE|-       make the store what a backup has: neko-api restore --help
  neko-api user …               who can log in: neko-api user --help
  neko-api key …                credentials of programs: neko-api key --help
  neko-api signing-key …        what tokens are signed with: neko-api signing-key --help
  neko-api version

Examples:
  neko-api                                      # http://127.0.0.1:4000/graphql
  PORT=8080 neko-api
  neko-api --listen :80 --store /var/lib/neko/api.db
  NEKO_API_STORE=mongodb://user:password@db1,db2/neko?replicaSet=rs0 neko-api
  neko-api import enterprise-attack.json
  curl -L https://example.org/bundle.json.gz | neko-api import -
  curl 127.0.0.1:4000/graphql -H 'Content-Type: application/json' \
    -d '{"query": "{threatActors(first: 3) {nodes {name}}}"}'
  neko-api user add mia --role analyst

Settings, each by a flag, by the environment, or in the YAML file that --config
names. A flag is stronger than the environment, and that than the file.

%s
Under nekoctl, systemd or another supervisor it serves on the sockets that it
inherits (LISTEN_FDS), and --listen does not count. See docs/worker-contract.md.
`

// groupUsage is the help of commands with two words, and of those that have much to say.
var groupUsage = map[string]string{"backup": backupUsage, "restore": restoreUsage, "purge": purgeUsage, "user": userUsage, "key": keyUsage, "signing-key": signingKeyUsage}

// help prints how to use neko-api, or the commands of the group that args ask about.
func help(s streams, o *options, args []string) int {
	for _, a := range args {
		if text, ok := groupUsage[a]; ok {
			fmt.Fprint(s.out, text)
			return 0
		}
	}
	fmt.Fprintf(s.out, usage, o.Help())
	return 0
}

func printVersion(_ *options, _ []string, s streams) error {
	_, err := fmt.Fprintf(s.out, "neko-api %s (%s, %s/%s)\n", programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
