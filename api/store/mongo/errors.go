package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/nekoctl/neko/api/store"
)

// Codes of the server's errors after which it may be as before in a while: there
// is no primary just now, a node shuts down, something took too long, an operator
// has taken a right away.
var unavailable = []int{
	6, 7, 89, // host unreachable, not found, timed out
	11, 13, 18, // user not found, unauthorized, authentication failed
	50, 262, // took too long
	64, 79, 100, // write concern
	91, 11600, 11602, // shuts down, interrupted
	112, 133, 134, // conflict, no node for the read preference, no majority yet
	189, 10107, 13435, 13436, 10058, // no primary any more
	9001, 14031, // socket, disk full
	24, 26, 46, 43, 237, // locks, collection gone, cursor gone or killed
}

// translate makes of the driver's errors those that [store.Store] promises: the
// context's, if that has ended, and ErrUnavailable for what may be over later.
func (s *Store) translate(ctx context.Context, err error) error {
	var known interface{ Is(error) bool }
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w", ctx.Err(), s.quiet(err))
	case errors.Is(err, context.Canceled), errors.Is(err, store.ErrUnavailable):
		return s.quiet(err)
	case ctx.Err() == nil && s.isUnavailable(err):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, s.quiet(err))
	case errors.As(err, &known) && (known.Is(store.ErrNotFound) || known.Is(store.ErrConflict) || known.Is(store.ErrInvalid)):
		return err
	}
	return s.quiet(err)
}

func (s *Store) isUnavailable(err error) bool {
	if s.closed.Load() || driver.IsNetworkError(err) || driver.IsTimeout(err) || errors.Is(err, driver.ErrClientDisconnected) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var server driver.ServerError
	if errors.As(err, &server) {
		for _, code := range unavailable {
			if server.HasErrorCode(code) {
				return true
			}
		}
		return server.HasErrorLabel("RetryableWriteError") || server.HasErrorLabel("TransientTransactionError")
	}
	// The driver has no type for not having found a server, nor for a pool that is
	// used up or cleared; all of them name their cause so.
	for _, part := range []string{"server selection", "connection pool", "checking out", "connection("} {
		if strings.Contains(err.Error(), part) {
			return true
		}
	}
	return false
}

// quiet gives the error without what is secret in the URL. The driver is not known
// to put any of it in its errors; nor is it promised.
func (s *Store) quiet(err error) error {
	if t := s.secret.hide(err.Error()); t != err.Error() {
		return &hidden{err, t}
	}
	return err
}

// hidden is an error with another text. What it wraps can be tested for, and not
// be got at to print it.
type hidden struct {
	err  error
	text string
}

func (e *hidden) Error() string        { return e.text }
func (e *hidden) Is(target error) bool { return errors.Is(e.err, target) }

// openError says why a store cannot be opened.
func (s *Store) openError(ctx context.Context, err error) error {
	var open *store.OpenError
	if errors.As(err, &open) || errors.Is(err, store.ErrTooNew) || ctx.Err() != nil {
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			return ctx.Err()
		}
		return err
	}
	e := &store.OpenError{Where: s.where, Err: s.quiet(err), Advice: "see whether MongoDB runs there, and can be reached from here: mongosh " + s.where}
	var server driver.ServerError
	text := err.Error()
	switch {
	case strings.Contains(text, "auth error"), strings.Contains(text, "AuthenticationFailed"), errors.As(err, &server) && (server.HasErrorCode(18) || server.HasErrorCode(11)):
		e.Err = errors.New("the server does not accept the user or the password")
		e.Advice = "see that both are percent-encoded in the URL, and that authSource names the database of the user"
	case errors.As(err, &server) && server.HasErrorCode(13):
		e.Err = errors.New("the user lacks a right: " + s.secret.hide(server.Error()))
		e.Advice = "docs/mongodb.md lists the rights that neko-api needs"
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"), strings.Contains(text, "certificate"):
		e.Err = errors.New("TLS does not come about: " + s.secret.hide(tlsReason(text)))
		e.Advice = "see the options tls, tlsCAFile and tlsCertificateKeyFile in the URL"
	case s.tls && (strings.Contains(text, "EOF") || strings.Contains(text, "connection reset")):
		e.Err = errors.New("TLS does not come about: the server has ended the connection")
		e.Advice = "the URL asks for TLS (tls=true, another option of TLS, or mongodb+srv): see that the server speaks it"
	case strings.Contains(text, "server selection"):
		e.Err = errors.New("no server answers: " + s.secret.hide(selectionReason(text)))
	}
	return e
}

// tlsReason and selectionReason shorten the driver's account of its whole topology
// to the cause that it ends with.
func tlsReason(text string) string {
	for _, mark := range []string{"tls: ", "x509: ", "certificate"} {
		if i := strings.Index(text, mark); i >= 0 {
			return strings.TrimRight(firstLine(text[i:]), " }],")
		}
	}
	return text
}

func selectionReason(text string) string {
	if i := strings.Index(text, "Last error: "); i >= 0 {
		return strings.TrimRight(firstLine(text[i+len("Last error: "):]), " }],")
	}
	if i := strings.Index(text, "current topology: "); i > 0 {
		return strings.TrimRight(text[:i], " ,")
	}
	return text
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	s, _, _ = strings.Cut(s, " }")
	return s
}
