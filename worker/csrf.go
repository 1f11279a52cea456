package worker

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// csrf refuses what a page of another site can make a browser send without asking
// here first (CORS's preflight), with the browser's cookies and from inside its
// network: the answer would be kept from that page, but not how long it took. Its
// rule is Apollo Server's csrfPrevention: a request must have a Content-Type
// that no HTML form has, or a header that a browser sends for a script only.
type csrf struct {
	headers []string
	message string
}

// The headers that Apollo's clients send, and others are asked to.
var apolloHeaders = []string{"x-apollo-operation-name", "apollo-require-preflight"}

// simpleTypes are those that need no preflight:
// https://fetch.spec.whatwg.org/#cors-safelisted-request-header.
var simpleTypes = []string{"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"}

// newCSRF makes the check, nil if there is none.
func newCSRF(c Config) (*csrf, error) {
	if c.NoCSRFPrevention {
		return nil, nil
	}
	headers := c.CSRFHeaders
	if len(headers) == 0 {
		headers = apolloHeaders
	}
	for _, h := range headers {
		if !isToken(h) || slices.Contains(safelistedHeaders, strings.ToLower(h)) || strings.HasPrefix(strings.ToLower(h), "sec-") {
			return nil, &adviceError{
				fmt.Errorf("%q cannot show that a request was not forged", h),
				"name headers that a browser sends only if a script has set them, such as apollo-require-preflight",
			}
		}
	}
	return &csrf{headers, fmt.Sprintf("This operation has been blocked as a potential Cross-Site Request Forgery (CSRF). "+
		"Please either specify a 'content-type' header (with a type that is not one of %s) "+
		"or provide a non-empty value for one of the following headers: %s",
		strings.Join(simpleTypes, ", "), strings.Join(headers, ", "))}, nil
}

// safelistedHeaders are some that browsers send by themselves, or for any page.
var safelistedHeaders = []string{
	"accept", "accept-charset", "accept-encoding", "accept-language", "connection", "content-language", "content-length",
	"content-type", "cookie", "date", "dnt", "expect", "host", "origin", "range", "referer", "te", "upgrade-insecure-requests", "user-agent",
}

// check returns why a request for GraphQL is not served, nil if it may be. An
// empty Content-Type counts as none.
func (c *csrf) check(h *fasthttp.RequestHeader) *badRequest {
	if c == nil {
		return nil
	}
	given := h.ContentType()
	if h.IsPost() && string(given) == "application/json" { // nearly always
		return nil
	}
	essence, ok := mimeEssence(given)
	// What is no MIME type is preflighted as well.
	if (len(given) == 0 || ok && slices.Contains(simpleTypes, essence)) && !slices.ContainsFunc(c.headers, func(name string) bool {
		return len(h.Peek(name)) > 0
	}) {
		return &badRequest{fasthttp.StatusBadRequest, CodeBadRequest, c.message}
	}
	// A GET has no body, and so no reason for another type. At least one browser has
	// left out the preflight for some (GHSA-9q82-xgwf-vj6h).
	if !h.IsPost() && len(given) > 0 && essence != "application/json" {
		return &badRequest{fasthttp.StatusUnsupportedMediaType, CodeUnsupportedMedia,
			"a GET must have no Content-Type but application/json"}
	}
	return nil
}

// mimeEssence is the type without its parameters, in lower case, and whether it is
// one at all, by https://mimesniff.spec.whatwg.org/#parsing-a-mime-type.
func mimeEssence(value []byte) (string, bool) {
	media, _, _ := bytes.Cut(value, []byte(";"))
	media = bytes.Trim(media, " \t\r\n")
	kind, sub, ok := strings.Cut(string(media), "/")
	if !ok || !isToken(kind) || !isToken(sub) {
		return "", false
	}
	return strings.ToLower(string(media)), true
}

// isToken says whether s is a token of RFC 9110, as names of headers are.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
