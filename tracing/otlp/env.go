package otlp

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// settings are what the environment says, by the names of OpenTelemetry's specification
// (SDK configuration, and OTLP exporter configuration).
type settings struct {
	endpoint string
	headers  [][2]string // secret
	timeout  time.Duration
	gzip     bool
	tls      *tls.Config

	sampling sampling
	resource []attribute.KeyValue
	limits   sdk.SpanLimits

	queue, batch int
	delay        time.Duration
	wait         time.Duration // before a call is made again, the first time
}

// Error is a setting that makes no sense. It never has a header's value.
type Error struct{ name, message, hint string }

func (e *Error) Error() string { return e.name + ": " + e.message }

// Hint is what to do, lower case, one line.
func (e *Error) Hint() string { return e.hint }

// Off and Auto are values of Options.Endpoint.
const (
	Auto = "auto"
	Off  = "off"
)

const tracesPath = "/v1/traces"

// read returns nil if nothing is to be exported.
func read(endpoint string, getenv func(string) string) (*settings, error) {
	either := func(name string) (value, from string) { // the one for traces alone is stronger
		from = "OTEL_EXPORTER_OTLP_TRACES_" + name
		if value = getenv(from); value == "" {
			from = "OTEL_EXPORTER_OTLP_" + name
			value = getenv(from)
		}
		return strings.TrimSpace(value), from
	}
	if disabled := getenv("OTEL_SDK_DISABLED"); strings.EqualFold(disabled, "true") || endpoint == Off {
		return nil, nil
	}
	exporter := getenv("OTEL_TRACES_EXPORTER")
	from := "the endpoint"
	if endpoint == "" || endpoint == Auto {
		switch exporter {
		case "none":
			return nil, nil
		case "", "otlp":
		default:
			return nil, &Error{"OTEL_TRACES_EXPORTER", fmt.Sprintf("there is no exporter %.40q", exporter), "write otlp or none"}
		}
		if endpoint = getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); endpoint != "" {
			from = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
		} else if endpoint = getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); endpoint != "" {
			from = "OTEL_EXPORTER_OTLP_ENDPOINT"
			endpoint = strings.TrimRight(endpoint, "/") + tracesPath
		} else if exporter == "otlp" {
			endpoint = "http://localhost:4318" + tracesPath
		} else {
			return nil, nil
		}
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &Error{from, "it is no URL that traces can be sent to", "write it like http://localhost:4318"} // nor is it repeated: it may have a password
	}
	if u.Path == "" {
		u.Path = "/"
	}
	s := &settings{
		endpoint: u.String(), timeout: 10 * time.Second,
		queue: 2048, batch: 512, delay: 5 * time.Second, wait: firstWait,
		limits: sdk.SpanLimits{
			AttributeValueLengthLimit: 1024, AttributeCountLimit: 64, EventCountLimit: 64, LinkCountLimit: 16,
			AttributePerEventCountLimit: 16, AttributePerLinkCountLimit: 16,
		},
	}
	if protocol, name := either("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, &Error{name, fmt.Sprintf("traces are not sent by %.40q", protocol), "write http/protobuf, which every receiver takes, at port 4318 as a rule, or leave it out"}
	}
	switch compression, name := either("COMPRESSION"); compression {
	case "", "none":
	case "gzip":
		s.gzip = true
	default:
		return nil, &Error{name, fmt.Sprintf("there is no compression %.40q", compression), "write gzip or none"}
	}
	if s.headers, err = readHeaders(either); err != nil {
		return nil, err
	}
	if s.tls, err = readTLS(either); err != nil {
		return nil, err
	}
	for _, n := range []struct {
		name string
		from func() (string, string)
		set  func(int)
	}{
		{"TIMEOUT", func() (string, string) { return either("TIMEOUT") }, func(n int) { s.timeout = time.Duration(n) * time.Millisecond }},
		{"OTEL_BSP_MAX_QUEUE_SIZE", nil, func(n int) { s.queue = min(n, 1<<16) }},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", nil, func(n int) { s.batch = n }},
		{"OTEL_BSP_SCHEDULE_DELAY", nil, func(n int) { s.delay = time.Duration(n) * time.Millisecond }},
	} {
		text, name := getenv(n.name), n.name
		if n.from != nil {
			text, name = n.from()
		}
		if text == "" {
			continue
		}
		v, err := strconv.Atoi(text)
		if err != nil || v <= 0 || v > 1<<30 {
			return nil, &Error{name, fmt.Sprintf("%.40q is no number of that kind", text), "write a whole number from 1 on; times are in milliseconds"}
		}
		n.set(v)
	}
	s.batch = min(s.batch, s.queue)
	if s.sampling, err = readSampler(getenv("OTEL_TRACES_SAMPLER"), getenv("OTEL_TRACES_SAMPLER_ARG")); err != nil {
		return nil, err
	}
	pairs, err := readPairs(getenv("OTEL_RESOURCE_ATTRIBUTES"))
	if err != nil {
		return nil, &Error{"OTEL_RESOURCE_ATTRIBUTES", err.Error(), "write it like deployment.environment.name=prod,team=cats, other characters as %XX"}
	}
	for _, p := range pairs {
		s.resource = append(s.resource, attribute.String(p[0], p[1]))
	}
	if name := getenv("OTEL_SERVICE_NAME"); name != "" {
		s.resource = append(s.resource, attribute.String("service.name", name))
	}
	return s, nil
}

func readHeaders(either func(string) (string, string)) ([][2]string, error) {
	text, name := either("HEADERS")
	pairs, err := readPairs(text)
	if err != nil {
		return nil, &Error{name, err.Error(), "write it like api-key=…,x-tenant=cats, other characters as %XX"}
	}
	for i, p := range pairs {
		for _, r := range p[0] {
			if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_') {
				return nil, &Error{name, fmt.Sprintf("header %d has no good name", i+1), "write letters, digits and dashes before the ="}
			}
		}
		if strings.ContainsAny(p[1], "\r\n\x00") {
			return nil, &Error{name, fmt.Sprintf("the value of %s has characters that no header has", p[0]), "write it in one line"}
		}
	}
	return pairs, nil
}

// readPairs reads name=value,name=value as W3C's baggage has it. Its errors do not have
// the values: they may be secret.
func readPairs(text string) (pairs [][2]string, err error) {
	for i, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return nil, fmt.Errorf("part %d has no name and value with a = between", i+1)
		}
		if value, err = url.PathUnescape(strings.TrimSpace(value)); err != nil {
			return nil, fmt.Errorf("the value of %.40s is not encoded well", name)
		}
		pairs = append(pairs, [2]string{name, value})
	}
	return pairs, nil
}

func readTLS(either func(string) (string, string)) (*tls.Config, error) {
	ca, caName := either("CERTIFICATE")
	cert, certName := either("CLIENT_CERTIFICATE")
	key, _ := either("CLIENT_KEY")
	if ca == "" && cert == "" && key == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, &Error{caName, err.Error(), "name a PEM file with the certificates that are trusted"}
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &Error{caName, ca + " has no certificate", "name a PEM file with the certificates that are trusted"}
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, &Error{certName, err.Error(), "name a certificate and, in OTEL_EXPORTER_OTLP_CLIENT_KEY, its key, both in PEM"}
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// sampling is which traces are recorded.
type sampling struct {
	root   sdk.Sampler
	parent bool // of one that has begun elsewhere that has decided
}

func (s sampling) sampler() sdk.Sampler {
	if s.parent {
		return sdk.ParentBased(s.root)
	}
	return s.root
}

func readSampler(name, arg string) (s sampling, err error) {
	root, parent := strings.CutPrefix(cmp.Or(name, "parentbased_always_on"), "parentbased_")
	s.parent = parent
	switch root {
	case "always_on":
		s.root = sdk.AlwaysSample()
	case "always_off":
		s.root = sdk.NeverSample()
	case "traceidratio":
		ratio, err := strconv.ParseFloat(cmp.Or(arg, "1"), 64)
		if err != nil || !(ratio >= 0 && ratio <= 1) {
			return s, &Error{"OTEL_TRACES_SAMPLER_ARG", fmt.Sprintf("%.40q is no part of the requests", arg), "write a number from 0 to 1, as 0.01 for one in a hundred"}
		}
		s.root = sdk.TraceIDRatioBased(ratio)
	default:
		return s, &Error{"OTEL_TRACES_SAMPLER", fmt.Sprintf("there is no sampler %.40q", name), "write one of always_on, always_off, traceidratio, and these with parentbased_ before them"}
	}
	return s, nil
}
