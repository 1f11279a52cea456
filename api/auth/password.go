package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/nekoctl/neko/api/store"
)

// How passwords are hashed: argon2id as OWASP asks for it. It takes some 25 ms and
// 19 MiB, and so one is computed at a time.
var current = params{memory: 19 << 10, time: 2, threads: 1}

// How many logins may wait for their turn, and how long.
const (
	maxWaiting = 16
	maxWait    = 2 * time.Second
)

// The length of a password: at least 15 characters where it is the only factor,
// and any of them (NIST SP 800-63B-4); at most so many bytes, as all are hashed.
const (
	minPassword = 15
	maxPassword = 1024
)

// ErrBusy is too many logins at once. It may work in a second.
var ErrBusy = errors.New("too many logins at the moment")

// params are the cost of a hash.
type params struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// affordable says whether a hash of these costs may be computed: what is in the
// store must not take the worker's memory.
func (p params) affordable() bool {
	return p.memory >= 8 && p.memory <= 128<<10 && p.time >= 1 && p.time <= 16 && p.threads >= 1 && p.threads <= 16
}

// passwords computes hashes, one at a time, and rests between them.
type passwords struct {
	turn     chan struct{}
	queue    chan struct{} // those who wait, and the one whose turn it is
	patience time.Duration
	dummy    string // the hash of a password that nobody knows
	ran      func() // for tests: a hash was computed
}

func newPasswords() *passwords {
	p := &passwords{turn: make(chan struct{}, 1), queue: make(chan struct{}, maxWaiting+1), patience: maxWait, ran: func() {}}
	// Nothing is computed here: that this is no hash of anything is nothing that
	// anybody could find out.
	p.dummy = format(current, random(16), random(32))
	return p
}

// inTurn runs f when it is its turn.
func (p *passwords) inTurn(ctx context.Context, f func()) error {
	select {
	case p.queue <- struct{}{}:
		defer func() { <-p.queue }()
	default:
		return ErrBusy
	}
	patience := time.NewTimer(p.patience)
	defer patience.Stop()
	select {
	case p.turn <- struct{}{}:
	case <-patience.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
	// The next one's turn comes after a rest as long as this takes: a flood of logins
	// has half of a processor at most.
	began := time.Now()
	defer func() { time.AfterFunc(time.Since(began), func() { <-p.turn }) }()
	beside(f)
	return nil
}

// beside runs f, which computes, while the process does other things. Where Go has
// one processor those would get it every 10 ms only, and have to wait so at each
// step; with a second one the kernel decides, and prefers who has slept.
func beside(f func()) {
	if runtime.GOMAXPROCS(0) == 1 {
		runtime.GOMAXPROCS(2)
		defer func() {
			if os.Getenv("GOMAXPROCS") == "" {
				runtime.SetDefaultGOMAXPROCS() // and as the container's limit changes
			} else {
				runtime.GOMAXPROCS(1)
			}
		}()
	}
	f()
}

// hash makes the PHC string of a password.
func (p *passwords) hash(ctx context.Context, password string) (phc string, err error) {
	salt := random(16)
	err = p.inTurn(ctx, func() { phc = format(current, salt, p.key(current, password, salt, 32)) })
	return phc, err
}

// verify tells whether phc is the hash of password, and whether it was made at
// other costs than hashes are made now. What is no PHC string costs as much.
func (p *passwords) verify(ctx context.Context, phc, password string) (ok, outdated bool, err error) {
	cost, salt, key, err := parse(phc)
	unreadable := err
	if err != nil {
		cost, salt, key, _ = parse(p.dummy)
	}
	err = p.inTurn(ctx, func() {
		ok = subtle.ConstantTimeCompare(p.key(cost, password, salt, len(key)), key) == 1
	})
	if err == nil && unreadable != nil {
		return false, false, unreadable
	}
	return ok, cost != current || len(key) != 32, err
}

func (p *passwords) key(cost params, password string, salt []byte, length int) []byte {
	p.ran()
	return argon2.IDKey([]byte(normal(password)), salt, cost.time, cost.memory, cost.threads, uint32(length))
}

// normal is the password as it is hashed, however a keyboard composes it.
func normal(password string) string { return norm.NFKC.String(password) }

func format(p params, salt, key []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads, b64.EncodeToString(salt), b64.EncodeToString(key))
}

// parse reads a PHC string.
func parse(phc string) (p params, salt, key []byte, err error) {
	bad := errors.New("a password's hash in the store cannot be read") // and is not shown
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, bad
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); n != 3 || err != nil || !p.affordable() {
		return p, nil, nil, bad
	}
	b64 := base64.RawStdEncoding.Strict()
	if salt, err = b64.DecodeString(parts[4]); err == nil {
		key, err = b64.DecodeString(parts[5])
	}
	if err != nil || len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return p, nil, nil, bad
	}
	return p, salt, key, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// checkPassword says what is wrong with a new password, as an InvalidError.
func checkPassword(name, password string) error {
	reason := ""
	different := map[rune]bool{}
	for _, r := range password {
		different[r] = true
	}
	switch {
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		reason = "must be text in UTF-8"
	case len(password) > maxPassword:
		reason = fmt.Sprintf("is longer than %d bytes", maxPassword)
	case utf8.RuneCountInString(normal(password)) < minPassword:
		reason = fmt.Sprintf("must have at least %d characters; any are good, spaces too", minPassword)
	case len(different) < 6:
		reason = "has too few different characters"
	case store.Fold(password) == store.Fold(name):
		reason = "must not be the name"
	default:
		return nil
	}
	return &store.InvalidError{Field: "password", Reason: reason}
}

// NewPassword makes one that is good for somebody who has a place to keep it.
func NewPassword() string { return strings.ToLower(rand.Text()) }
