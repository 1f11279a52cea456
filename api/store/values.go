package store

// ValueTypes are the types of values that [NewIndicator] takes, each with the
// STIX property that holds them.
var ValueTypes = []struct{ Type, Property string }{
	{"ipv4-addr", "ipv4-addr:value"},
	{"ipv6-addr", "ipv6-addr:value"},
	{"domain-name", "domain-name:value"},
	{"url", "url:value"},
	{"email-addr", "email-addr:value"},
	{"file-md5", "file:hashes.MD5"},
	{"file-sha1", "file:hashes.'SHA-1'"},
	{"file-sha256", "file:hashes.'SHA-256'"},
	{"file-name", "file:name"},
	{"mutex", "mutex:name"},
	{"windows-registry-key", "windows-registry-key:key"},
	{"user-agent", "network-traffic:extensions.'http-request-ext'.request_header.'User-Agent'"},
}
