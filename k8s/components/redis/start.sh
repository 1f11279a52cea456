#!/bin/sh
# Starts the Redis of a pod: rate limits as they were in the last snapshot, and a cache with nothing in it.
#
# A snapshot of a minute ago has the answers of a minute ago and the tags by which they were good then, so
# Redis would call answers good that have been invalidated since. The server loads with no port open, what is
# not a bucket is deleted in its memory, and only then can anybody connect. If anything of that fails
# there is no port, and the pod does not become ready.
#
# The paths are those of the pod; tests have others.
set -eu
umask 077

conf=${NEKO_REDIS_CONF:-/etc/redis}
data=${NEKO_REDIS_DATA:-/data}
run=${NEKO_REDIS_RUN:-/run/redis}
secrets=${NEKO_REDIS_SECRETS:-/run/secrets/redis}
port=${NEKO_REDIS_PORT:-6379}

fail() {
	echo "error: $1" >&2
	echo "hint: $2" >&2
	exit 1
}

# Without this line there is a default user, who has no password and may do everything.
grep -qx 'user default off' "$secrets/users.acl" ||
	fail "$secrets/users.acl has no line \"user default off\"" 'see users.acl of the Secret neko-redis in k8s/base/secrets.example.yaml'

# admin is for this script and for whoever may run commands in the pod (cli.sh): its password is a new one
# at each start, and nowhere but in the pod's memory. health is for probes.
head -c 32 /dev/urandom | sha256sum | cut -d ' ' -f 1 >"$run/admin"
{
	cat "$secrets/users.acl"
	echo
	echo "user admin on #$(tr -d '\n' <"$run/admin" | sha256sum | cut -d ' ' -f 1) ~* &* +@all"
	echo 'user health on nopass -@all +ping'
} >"$run/users.acl"

# One that cannot be read, by a bad disk or of a later version, would keep Redis from starting for good.
if [ -f "$data/dump.rdb" ] && ! redis-check-rdb "$data/dump.rdb" >/dev/null 2>&1; then
	mv -f "$data/dump.rdb" "$data/dump.rdb.unreadable"
	echo "warning: the snapshot cannot be read: all buckets of rate limits are full, and it is dump.rdb.unreadable now" >&2
fi

redis-server "$conf/redis.conf" --dir "$data" --aclfile "$run/users.acl" --unixsocket "$run/redis.sock" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null || :' TERM INT

# ended waits for the server, and ends as it did. A signal ends a wait before the server has ended.
ended() {
	while :; do
		status=0
		wait "$server" || status=$?
		kill -0 "$server" 2>/dev/null || break
	done
	if [ "$status" -gt 128 ]; then
		last=0
		wait "$server" || last=$?
		[ "$last" -eq 127 ] || status=$last
	fi
	exit "$status"
}

cli() { NEKO_REDIS_RUN=$run sh "$conf/cli.sh" "$@"; }

# Until all is loaded it answers with an error.
until [ "$(cli PING 2>/dev/null)" = PONG ]; do
	kill -0 "$server" 2>/dev/null || ended
	sleep 0.1
done

# Of what package limiter/redis and cache/redis call their keys: PREFIXlimit:RULE:HASH, and
# PREFIX…:cache:…. What is neither is deleted, too. Names of rules have no colons there.
if ! { kept=$(cli EVAL "
	local cursor, kept = '0', 0
	repeat
		local page = redis.call('SCAN', cursor, 'COUNT', 1000)
		cursor = page[1]
		for _, key in ipairs(page[2]) do
			if key:find('limit:', 1, true) and not key:find(':cache:', 1, true) then
				kept = kept + 1
			else
				redis.call('UNLINK', key)
			end
		end
	until cursor == '0'
	return kept" 0) && opened=$(cli CONFIG SET port "$port") && [ "$opened" = OK ]; }; then
	kill -TERM "$server" 2>/dev/null || :
	wait "$server" || :
	fail "the cache of before cannot be removed: ${kept:-} ${opened:-}" 'delete the volume of this pod: what is in it can be lost'
fi
echo "open at port $port, $kept buckets of rate limits kept"
ended
