// Package settings reads what a program can be told: by a YAML file, by the
// environment and by flags, each stronger than the one before. A setting is
// defined once, and its name gives all three: "idle-timeout" is --idle-timeout,
// PREFIX_IDLE_TIMEOUT, and idle_timeout in the file.
//
// Nothing is ignored: an unknown flag or key is an error that names its place
// and the nearest known one.
package settings

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Set is the settings of a program. Define them with String, Bool and the like,
// then call Load once.
type Set struct {
	prefix string
	list   []*setting
	file   *string

	options []string
}

// setting is one definition.
type setting struct {
	name, placeholder, fallback, help string
	set                               func(text string) error
	isBool                            bool
	option                            bool                              // of a command: a flag and nothing else
	alias                             string                            // an environment variable of a convention, weaker than our own
	convert                           func(text string) (string, error) // what the alias means
}

// New makes a set whose environment variables begin with prefix and "_". It has
// the setting "config", the name of the YAML file.
func New(prefix string) *Set {
	s := &Set{prefix: prefix}
	s.file = s.String("config", "", "FILE", "a YAML file with these settings")
	return s
}

func (s *setting) key() string { return strings.ReplaceAll(s.name, "-", "_") }

func (s *Set) env(d *setting) string { return s.prefix + "_" + strings.ToUpper(d.key()) }

func define[T any](s *Set, name string, def T, shown, placeholder, help string, parse func(string) (T, error)) *T {
	v := def
	s.list = append(s.list, &setting{
		name: name, placeholder: placeholder, fallback: shown, help: help,
		set: func(text string) error {
			parsed, err := parse(text)
			if err == nil {
				v = parsed
			}
			return err
		},
	})
	return &v
}

// String defines a setting that is any text. The value is good after Load.
func (s *Set) String(name, def, placeholder, help string) *string {
	return define(s, name, def, def, placeholder, help, func(text string) (string, error) { return text, nil })
}

// Bool defines one that is true or false; its flag alone means true.
func (s *Set) Bool(name string, def bool, help string) *bool {
	v := define(s, name, def, strconv.FormatBool(def), "", help, func(text string) (bool, error) {
		switch text {
		case "true", "yes", "on", "1":
			return true, nil
		case "false", "no", "off", "0":
			return false, nil
		}
		return false, &valueError{fmt.Sprintf("%q is neither true nor false", text), "write true or false"}
	})
	s.list[len(s.list)-1].isBool = true
	return v
}

// Int defines one that is a whole number from 1.
func (s *Set) Int(name string, def int, help string) *int {
	return define(s, name, def, strconv.Itoa(def), "N", help, func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return 0, &valueError{fmt.Sprintf("%q is no whole number from 1", text), "write it like 100"}
		}
		return n, nil
	})
}

// Fraction defines one that is a number up to 1, and more than 0.
func (s *Set) Fraction(name string, def float64, help string) *float64 {
	return define(s, name, def, strconv.FormatFloat(def, 'g', -1, 64), "PART", help, func(text string) (float64, error) {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || !(f > 0 && f <= 1) {
			return 0, &valueError{fmt.Sprintf("%q is no part of a whole", text), "write 1 for all, or 0.01 for one in a hundred"}
		}
		return f, nil
	})
}

// List defines one that is several words, with commas or spaces between them.
func (s *Set) List(name, placeholder, help string) *[]string {
	return define(s, name, []string(nil), "", placeholder, help, func(text string) ([]string, error) {
		return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }), nil
	})
}

// Duration defines one that is a time span, like 10s or 1m30s, more than none. Its
// default may be none.
func (s *Set) Duration(name string, def time.Duration, help string) *time.Duration {
	shown := ""
	if def > 0 {
		shown = def.String()
	}
	return define(s, name, def, shown, "TIME", help, func(text string) (time.Duration, error) {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return 0, &valueError{fmt.Sprintf("%q is no time span", text), "write it like 10s or 1m30s"}
		}
		return d, nil
	})
}

// Size defines one that is a number of bytes, like 512KiB or 1MiB.
func (s *Set) Size(name string, def int, help string) *int {
	return define(s, name, def, formatSize(def), "SIZE", help, ParseSize)
}

var units = []struct {
	name  string
	bytes int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

func formatSize(n int) string {
	for _, u := range units {
		if n%u.bytes == 0 {
			return strconv.Itoa(n/u.bytes) + u.name
		}
	}
	return strconv.Itoa(n)
}

// ParseSize reads what a setting of Size reads.
func ParseSize(text string) (int, error) {
	for _, u := range units {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			n, err := strconv.Atoi(strings.TrimSpace(number))
			if err == nil && n > 0 && n <= (1<<40)/u.bytes {
				return n * u.bytes, nil
			}
			break
		}
	}
	return 0, &valueError{fmt.Sprintf("%q is no size", text), "write it like 512KiB or 1MiB"}
}

// Parsed defines one that parse reads; an error of [BadValue] comes with a hint. Its
// default is nil.
func Parsed[T any](s *Set, name, shown, placeholder, help string, parse func(text string) (*T, error)) **T {
	return define(s, name, (*T)(nil), shown, placeholder, help, parse)
}

// Alias makes the environment variable env, which other programs know too, give
// the setting name as well. convert says what its text means to it; an error of
// [BadValue] comes with a hint.
func (s *Set) Alias(name, env string, convert func(string) (string, error)) {
	d := s.find(name)
	d.alias, d.convert = env, convert
}

// Option defines a flag of one command of a program: nothing that the environment
// or a file could say, nor in Help. Each time that it is given, set is called with
// its value, "true" if placeholder is empty and it stands alone. [Set.Options]
// tells which were given.
func (s *Set) Option(name, placeholder string, set func(value string) error) {
	s.list = append(s.list, &setting{name: name, placeholder: placeholder, isBool: placeholder == "", option: true, set: set})
}

// Options are the names of the options that were given to Load.
func (s *Set) Options() []string { return s.options }

func (s *Set) find(name string) *setting {
	for _, d := range s.list {
		if d.name == name {
			return d
		}
	}
	return nil
}

// Error is a setting that cannot be used, and what to do about it.
type Error struct {
	message, hint string
}

// Error says where and what, in one line.
func (e *Error) Error() string { return e.message }

// Hint is what to do about it; it may be empty.
func (e *Error) Hint() string { return e.hint }

// valueError is why a value cannot be used, without where it stands.
type valueError struct{ message, hint string }

func (e *valueError) Error() string { return e.message }

// BadValue is an error for what Parsed and Alias read: what is wrong, and what to do.
func BadValue(message, hint string) error { return &valueError{message, hint} }

// at is err with the place of the value before it.
func at(place string, err error) *Error {
	e := &Error{message: fmt.Sprintf("%s: %v", place, err)}
	var v *valueError
	if errors.As(err, &v) {
		e.hint = v.hint
	}
	return e
}

// Load reads the file, the environment and args (without the program's name),
// and returns the arguments that are no flags. After "--" all are.
func (s *Set) Load(args []string) (rest []string, err error) {
	flags, rest, err := s.flags(args)
	if err != nil {
		return nil, err
	}
	// Where the file is comes from the stronger two.
	config := s.list[0]
	if v, ok := os.LookupEnv(s.env(config)); ok {
		_ = config.set(v)
	}
	for _, f := range flags {
		if f.setting == config {
			_ = config.set(f.value)
		}
	}
	if *s.file != "" {
		if err := s.loadFile(*s.file); err != nil {
			return nil, err
		}
	}
	if err := s.loadEnv(); err != nil {
		return nil, err
	}
	for _, f := range flags {
		if err := f.setting.set(f.value); err != nil {
			return nil, at("--"+f.setting.name, err)
		}
		if f.setting.option {
			s.options = append(s.options, f.setting.name)
		}
	}
	return rest, nil
}

func (s *Set) loadEnv() error {
	for _, d := range s.list {
		if d.option {
			continue
		}
		if text := os.Getenv(d.alias); d.alias != "" && text != "" {
			text, err := d.convert(text)
			if err == nil {
				err = d.set(text)
			}
			if err != nil {
				return at(d.alias+" in the environment", err)
			}
		}
		if text, ok := os.LookupEnv(s.env(d)); ok && text != "" {
			if err := d.set(text); err != nil {
				return at(s.env(d)+" in the environment", err)
			}
		}
	}
	return nil
}
