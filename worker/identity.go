package worker

import (
	"context"
	"net/netip"
)

// Identity is who a request comes from, as Config.Identify has found out. The
// zero value is somebody unknown.
type Identity struct {
	// Subject is theirs for ever and nobody else's, "user:0197…"; "" if unknown.
	Subject string
	// Name is for people, in logs; it may change, and be somebody else's later.
	Name string
	// Role is a value of the enum that @requires takes; "" is the weakest.
	Role string
	// Scopes, unless nil, are the only root fields that they may ask for:
	// "Query.actor", or "Query.*" for all of a type.
	Scopes []string
}

// Credentials are what a request says about who sends it. They share no memory
// with the request.
type Credentials struct {
	Authorization string // the header, "Bearer …"
	APIKey        string // the header X-API-Key
}

// Caller is what a resolver may know about the request that it works for.
type Caller struct {
	Identity  Identity
	IP        netip.Addr // of the client; not valid if it came by a unix socket
	RequestID string
}

type callerKey struct{}

// CallerFrom is the caller of the operation that ctx belongs to, an empty one in
// a context that does not come from a request.
func CallerFrom(ctx context.Context) *Caller {
	if c, ok := ctx.Value(callerKey{}).(*Caller); ok {
		return c
	}
	return &Caller{}
}

// WithCaller is ctx for an operation of c: what a worker gives to resolvers, and
// tests of resolvers make by themselves.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}
