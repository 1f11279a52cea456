package worker

import (
	"bytes"
	"strconv"
	"strings"
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

// negotiate finds out what an Accept header asks for, by RFC 9110, 12.5.1: the
// most specific range that fits a type gives its quality, and the better type is
// taken. If both are as good it is the newer one for whoever names it, else
// application/json, which whoever takes anything has always been given. ok is
// false if neither is acceptable. A charset other than UTF-8 does not fit; other
// parameters say nothing about what there is here.
func negotiate(accept []byte) (m media, ok bool) {
	switch { // nearly always
	case len(bytes.TrimSpace(accept)) == 0, string(accept) == "*/*", string(accept) == "application/json":
		return legacy, true
	}
	graphql, json := quality{value: -1}, quality{value: -1}
	for r := range strings.SplitSeq(string(accept), ",") {
		name, params, _ := strings.Cut(r, ";")
		q, fits := 1.0, true
		for p := range strings.SplitSeq(params, ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			value = strings.Trim(value, `"`)
			switch strings.ToLower(strings.TrimSpace(key)) {
			case "q":
				if v, err := strconv.ParseFloat(value, 64); err == nil && v >= 0 && v <= 1 {
					q = v
				}
			case "charset":
				fits = strings.EqualFold(value, "utf-8") || strings.EqualFold(value, "utf8") || value == "*"
			}
		}
		if !fits {
			continue
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "application/graphql-response+json":
			graphql.set(named, q)
		case "application/json":
			json.set(named, q)
		case "application/*":
			graphql.set(ofType, q)
			json.set(ofType, q)
		case "*/*":
			graphql.set(anyType, q)
			json.set(anyType, q)
		}
	}
	switch {
	case graphql.value <= 0 && json.value <= 0:
		return media{}, false
	case graphql.value > json.value, graphql.value == json.value && graphql.from == named:
		return media{typeGraphQL, typeGraphQL}, true
	case graphql.value == 0: // refused by name
		return media{typeJSON, typeJSON}, true
	}
	return legacy, true
}

// quality is how welcome a type is: below 0 not mentioned, 0 refused.
type quality struct {
	value float64
	from  specificity
}

type specificity int

const (
	anyType specificity = iota // */*
	ofType                     // application/*
	named
)

// set takes what a range says unless a more specific one has spoken.
func (q *quality) set(from specificity, value float64) {
	if q.value < 0 || from > q.from || from == q.from && value > q.value {
		q.value, q.from = value, from
	}
}
