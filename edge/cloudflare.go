package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nekoctl/neko/logtext"
	"github.com/nekoctl/neko/retryafter"
)

// What Cloudflare takes, on any plan
// (https://developers.cloudflare.com/cache/how-to/purge-cache/).
const (
	// TagsPerCall is how many tags one call may have.
	TagsPerCall = 100
	// maxTag is the length of one, in bytes.
	maxTag = 1024
)

// Cloudflare is a zone of Cloudflare's whose cache is purged, by
// https://developers.cloudflare.com/api/resources/cache/methods/purge/.
type Cloudflare struct {
	// API is where it is asked, DefaultAPI if it is "".
	API string
	// Zone is its id, 32 hexadecimal digits.
	Zone string
	// Hosts are those of which everything is purged where that is to be; none are all of the zone.
	Hosts []string
	// Token reads the API token, which may do nothing but purge this zone, whenever it is
	// needed: so it may be replaced while this program runs.
	Token func() (string, error)
}

// DefaultAPI is Cloudflare's.
const DefaultAPI = "https://api.cloudflare.com/client/v4"

// Check says what is wrong with it, as far as can be seen from here.
func (c *Cloudflare) Check() error {
	if len(c.Zone) != 32 || strings.Trim(c.Zone, "0123456789abcdef") != "" {
		return errors.New("the id of a zone has 32 hexadecimal digits")
	}
	u, err := url.Parse(c.api())
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("the API's address is no URL of the form https://host/path")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "https" && !(u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())) {
		return errors.New("the API's address is not https://: the token would be seen on its way")
	}
	_, err = c.Token()
	return err
}

func (c *Cloudflare) api() string {
	if c.API == "" {
		return DefaultAPI
	}
	return strings.TrimSuffix(c.API, "/")
}

// client follows no redirect, which would be given the token, and waits for nobody for long: another
// attempt is better.
var client = &http.Client{
	Timeout:       4 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Purge makes one call: for tags, of which there are at most TagsPerCall, or for everything if
// there are none. An error is a [*Refusal] if Cloudflare has answered.
func (c *Cloudflare) Purge(ctx context.Context, tags []string) error {
	var what struct {
		Tags       []string `json:"tags,omitempty"`
		Hosts      []string `json:"hosts,omitempty"`
		Everything bool     `json:"purge_everything,omitempty"`
	}
	switch {
	case len(tags) > 0:
		what.Tags = tags
	case len(c.Hosts) > 0:
		what.Hosts = c.Hosts
	default:
		what.Everything = true
	}
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	token, err := c.Token()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.api()+"/zones/"+c.Zone+"/purge_cache", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the address, which has the zone
		}
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return err
	}
	var answer struct {
		Success bool
		Errors  []struct {
			Code    int
			Message string
		}
	}
	bad := json.Unmarshal(text, &answer)
	if res.StatusCode == http.StatusOK && bad == nil && answer.Success {
		return nil
	}
	r := &Refusal{Status: res.StatusCode, After: retryafter.Parse(res.Header.Get("Retry-After"), time.Now())}
	for _, e := range answer.Errors {
		if len(r.Reasons) < 3 {
			r.Reasons = append(r.Reasons, fmt.Sprintf("%s (%d)", logtext.Printable(strings.ReplaceAll(e.Message, token, "(token)"), 200), e.Code))
		}
	}
	return r
}

// Refusal is an answer of Cloudflare's that is no success.
type Refusal struct {
	Status  int
	Reasons []string      // in Cloudflare's words, and its codes
	After   time.Duration // not before then shall it be asked again; 0: it did not say
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("status %d", r.Status)
	if len(r.Reasons) > 0 {
		text += ": " + strings.Join(r.Reasons, "; ")
	}
	return text
}

// Hint says what to do about it.
func (r *Refusal) Hint() string {
	switch r.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return "see whether the zone is the right one, and the token is good and has the permission Zone.Cache Purge for it; a new one in its file is used at once"
	case http.StatusTooManyRequests:
		return "if this goes on, give --cloudflare-rate less than the account's plan allows"
	}
	return ""
}
