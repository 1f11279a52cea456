package worker

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// The media types of GraphQL over HTTP.
const (
	typeJSON    = "application/json; charset=utf-8"
	typeGraphQL = "application/graphql-response+json; charset=utf-8"
)

// media is under which types the sender of a request takes answers.
type media struct {
	success string // that of an answer with status 200
	failure string // that of an error, which has another status
}

// legacy says that a client does not ask for the newer type. It gets what it knows
// if all is well; an error is told under the newer type, with its status, so that
// it cannot be mistaken for one of a proxy's.
var legacy = media{success: typeJSON, failure: typeGraphQL}

// accept is the Accept header, "" if there is none; several are one list.
func accept(ctx *fasthttp.RequestCtx) []byte {
	switch list := ctx.Request.Header.PeekAll(fasthttp.HeaderAccept); len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	default:
		return bytes.Join(list, []byte(","))
	}
}

// negotiate finds out what an Accept header asks for: the type that it ranks higher.
// If it ranks both alike it is the newer one for whoever names it, else
// application/json, which whoever takes anything has always been given. ok is false
// if neither is acceptable.
func negotiate(accept []byte) (m media, ok bool) {
	switch { // nearly always
	case len(bytes.TrimSpace(accept)) == 0, string(accept) == "*/*", string(accept) == "application/json":
		return legacy, true
	}
	graphql, json := rankIn(string(accept), "application/graphql-response+json"), rankIn(string(accept), "application/json")
	switch {
	case graphql.weight <= 0 && json.weight <= 0:
		return media{}, false
	case graphql.weight > json.weight, graphql.weight == json.weight && graphql.exact == 2:
		return media{typeGraphQL, typeGraphQL}, true
	case graphql.exact >= 0 && graphql.weight <= 0: // refused
		return media{typeJSON, typeJSON}, true
	}
	return legacy, true
}

// rank is the weight that an Accept header gives to a media type, and how exactly
// it names that: 0 as */*, 1 as type/*, 2 by its name.
type rank struct {
	weight float64
	exact  int
}

func (r rank) above(other rank) bool {
	return r.weight > other.weight || r.weight == other.weight && r.exact > other.exact
}

// rankIn finds what names media most exactly, which is what counts (RFC 9110, 12.5.1).
func rankIn(accept, media string) (best rank) {
	best.exact = -1
	group, _, _ := strings.Cut(media, "/")
	for r := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(r, ";")
		exact := -1
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case media:
			exact = 2
		case group + "/*":
			exact = 1
		case "*/*":
			exact = 0
		}
		if exact <= best.exact {
			continue
		}
		r := rank{1, exact}
		for p := range strings.SplitSeq(params, ";") {
			switch name, value, _ := strings.Cut(strings.TrimSpace(p), "="); {
			case strings.EqualFold(name, "q"):
				r.weight, _ = strconv.ParseFloat(value, 64) // 0 if it is none
			case strings.EqualFold(name, "charset") && !strings.EqualFold(strings.Trim(value, `"`), "utf-8"):
				r.exact = -1 // nothing here is in that; what other parameters ask for says nothing here
			}
		}
		if r.exact >= 0 {
			best = r
		}
	}
	return best
}
