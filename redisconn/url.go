package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// urlError is an error in a URL, with what to do about it. It never has the URL itself,
// or a password.
type urlError struct{ what, hint string }

func (e *urlError) Error() string { return e.what }

// Hint is what to do, lower case, one line.
func (e *urlError) Hint() string { return e.hint }

func wrong(hint, format string, args ...any) error {
	return &urlError{"the URL of Redis: " + fmt.Sprintf(format, args...), hint}
}

// shown is a part of a URL, unless it may be that of a password whose special characters
// were not written as %XX.
func shown(part string) string {
	if strings.Contains(part, "@") {
		return "what is before an @"
	}
	return fmt.Sprintf("%.60q", part)
}

const formHint = "redis://USER:PASSWORD@HOST:PORT, or rediss:// for TLS; special characters of a password as %XX"

// parameters are those of a URL, in the order in which people are told of them.
var parameters = []string{"addr", "master_set", "sentinel_user", "sentinel_password", "ca", "cert", "key", "server_name"}

// parse makes options of a URL:
//
//	redis://[USER][:PASSWORD]@HOST[:PORT][/DB]           one server, or any node of a Cluster
//	…?addr=HOST:PORT&addr=…                              more nodes of the Cluster, to begin with
//	redis://…@SENTINEL[:PORT]?addr=…&master_set=NAME     Sentinels; user and password are the master's
//	…&sentinel_user=USER&sentinel_password=PASSWORD      those of the Sentinels, if they have any
//	rediss://…                                           any of these with TLS
//	…?ca=FILE&cert=FILE&key=FILE&server_name=NAME        whom it trusts, what it shows, what certificates name
//
// Whether it is a Cluster is asked of the server.
func parse(text string) (rueidis.ClientOption, error) {
	var opt rueidis.ClientOption
	u, err := url.Parse(text)
	if err != nil { // err has the whole of it
		return opt, wrong(formHint, "cannot be read")
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" {
		return opt, wrong(formHint, "begins with neither redis:// nor rediss://")
	}
	if u.Opaque != "" || u.Fragment != "" || u.Hostname() == "" {
		return opt, wrong(formHint, "has no host, or a part that it cannot have")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return opt, wrong("special characters as %XX", "what is after its question mark cannot be read")
	}
	for name, values := range q {
		if !slices.Contains(parameters, name) {
			return opt, wrong("there are "+strings.Join(parameters, ", "), "no parameter is called %s", shown(name))
		}
		if len(values) > 1 && name != "addr" {
			return opt, wrong("give it once", "%s is there %d times", name, len(values))
		}
		if slices.Contains(values, "") {
			return opt, wrong("give it a value, or leave it out", "%s is empty", name)
		}
	}
	opt.Sentinel.MasterSet = q.Get("master_set")
	port := "6379"
	if opt.Sentinel.MasterSet != "" {
		port = "26379"
	} else if q.Has("sentinel_user") || q.Has("sentinel_password") {
		return opt, wrong("say with master_set what the Sentinels watch", "it has a user or a password of Sentinels, but no master_set")
	}
	for _, a := range append([]string{u.Host}, q["addr"]...) {
		if a, err = address(a, port); err != nil {
			return opt, err
		}
		if len(a) > 0 && !slices.Contains(opt.InitAddress, a) {
			opt.InitAddress = append(opt.InitAddress, a)
		}
	}
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		if opt.SelectDB, err = strconv.Atoi(db); err != nil || opt.SelectDB < 0 {
			return opt, wrong("the path is the number of a database, mostly there is none", "%s is no database", shown(db))
		}
	}
	opt.Username = u.User.Username()
	opt.Password, _ = u.User.Password()
	opt.Sentinel.Username, opt.Sentinel.Password = q.Get("sentinel_user"), q.Get("sentinel_password")
	if err := trust(&opt, u.Scheme == "rediss", q); err != nil {
		return opt, err
	}

	opt.DisableCache = true
	opt.DisableRetry = true
	opt.ClusterOption.MaxMovedRedirections = 3 // one is usual, two in a failover
	// Without it a deadline would cut the connection that all use.
	opt.AlwaysPipelining = true
	opt.PipelineMultiplex = -1 // one connection
	opt.RingScaleEachConn = ringScale
	opt.ReadBufferEachConn, opt.WriteBufferEachConn = buffer, buffer
	opt.ClientName = "neko"
	opt.Sentinel.TLSConfig, opt.Sentinel.ClientName = opt.TLSConfig, opt.ClientName
	// That a master was deposed is said once: who has missed it must ask.
	opt.Sentinel.TopologyRefreshInterval = RefreshEvery
	return opt, nil
}

func address(text, port string) (string, error) {
	u := url.URL{Host: text}
	if u.Port() != "" {
		port = u.Port()
	}
	n, err := strconv.Atoi(port)
	host := u.Hostname()
	if err != nil || n < 1 || n > 65535 || host == "" || strings.ContainsAny(host, "/@? ") || strings.HasSuffix(text, ":") ||
		strings.Contains(host, ":") && !strings.HasPrefix(text, "[") {
		return "", wrong("HOST:PORT, and IPv6 as [ADDRESS]:PORT", "%s is no address", shown(text))
	}
	return net.JoinHostPort(host, port), nil
}

// trust sets what TLS needs. Without server_name a certificate must name the address
// that is dialled.
func trust(opt *rueidis.ClientOption, secure bool, q url.Values) error {
	if !secure {
		for _, name := range []string{"ca", "cert", "key", "server_name"} {
			if q.Has(name) {
				return wrong("rediss:// is with TLS", "%s is for TLS, and it begins with redis://", name)
			}
		}
		return nil
	}
	opt.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: q.Get("server_name")}
	if path := q.Get("ca"); path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return wrong("a file of certificates, PEM", "ca: %v", err)
		}
		opt.TLSConfig.RootCAs = x509.NewCertPool()
		if !opt.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
			return wrong("a file of certificates, PEM", "ca: %s has no certificate", path)
		}
	}
	if q.Has("cert") != q.Has("key") {
		return wrong("the one is of no use without the other", "it has only one of cert and key")
	}
	if q.Has("cert") {
		pair, err := tls.LoadX509KeyPair(q.Get("cert"), q.Get("key"))
		if err != nil {
			return wrong("a certificate and its key, PEM", "cert and key: %v", err)
		}
		opt.TLSConfig.Certificates = []tls.Certificate{pair}
	}
	return nil
}
