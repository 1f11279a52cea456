#!/bin/sh
# Starts one of the six Redis of a Cluster, and joins it to the others. Nobody commands: each looks at what
# the Cluster is like, and does what is its own to do, as often as it is started.
#
# - It meets all others, by their names. Whoever has a new address is known by it from then on, even if all
#   six have: of two, the one that starts later finds the other.
# - One that knows of no role yet (its volume is new) takes one when it knows all the others. Pods 0 to 2
#   take a third of the slots each, pods 3 to 5 follow them. If somebody has these slots already, as after the
#   loss of a volume, it follows that one.
#
# The paths and names are those of the pods; tests have others.
set -eu
umask 077

conf=${NEKO_REDIS_CONF:-/etc/redis}
data=${NEKO_REDIS_DATA:-/data}
run=${NEKO_REDIS_RUN:-/run/redis}
secrets=${NEKO_REDIS_SECRETS:-/run/secrets/redis}
# HOST:PORT of each, in their order; which one this is; and its address. The bus is 10000 above the port.
nodes=${NEKO_REDIS_NODES:?}
index=${NEKO_REDIS_INDEX:?}
address=${NEKO_REDIS_ADDRESS:?}

fail() {
	echo "error: $1" >&2
	echo "hint: $2" >&2
	exit 1
}

# shellcheck disable=SC2086
set -- $nodes
[ $# -eq 6 ] || fail "NEKO_REDIS_NODES has $# nodes" 'this script lays out three primaries and three replicas'
case $index in [0-5]) ;; *) fail "\"$index\" is no number of a node" 'there are 0 to 5: has the StatefulSet more than six replicas?' ;; esac
shift "$index"
port=${1##*:}
# shellcheck disable=SC2086
set -- $nodes

grep -qx 'user default off' "$secrets/users.acl" ||
	fail "$secrets/users.acl has no line \"user default off\"" 'see components/redis-cluster/secrets.example.yaml'
[ -s "$secrets/replication" ] ||
	fail "$secrets/replication is empty" 'see components/redis-cluster/secrets.example.yaml'

digest() { tr -d '\n' <"$1" | sha256sum | cut -d ' ' -f 1; }

# As in components/redis. replication is who a replica is to its primary, in all pods the same.
head -c 32 /dev/urandom | sha256sum | cut -d ' ' -f 1 >"$run/admin"
{
	cat "$secrets/users.acl"
	echo
	echo "user admin on #$(digest "$run/admin") ~* &* +@all"
	echo 'user health on nopass -@all +ping'
	echo "user replication on #$(digest "$secrets/replication") -@all +psync +replconf +ping"
} >"$run/users.acl"
{
	echo "include $conf/redis.conf"
	echo "port $port"
	echo "dir $data"
	echo "aclfile $run/users.acl"
	echo "unixsocket $run/redis.sock"
	echo "cluster-config-file nodes.conf"
	echo "cluster-announce-ip $address"
	echo "masteruser replication"
	# Not on a command line, where everybody in the pod could read it.
	printf 'masterauth "%s"\n' "$(tr -d '\n' <"$secrets/replication" | sed 's/["\\]/\\&/g')"
} >"$run/redis.conf"

redis-server "$run/redis.conf" &
server=$!
joiner=
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
	[ -z "$joiner" ] || kill "$joiner" 2>/dev/null || :
	exit "$status"
}

cli() { NEKO_REDIS_RUN=$run sh "$conf/cli.sh" "$@"; }

until [ "$(cli PING 2>/dev/null)" = PONG ]; do
	kill -0 "$server" 2>/dev/null || ended
	sleep 0.1
done

me=$(cli CLUSTER MYID)

# All that follows is tried again until it is so.
set +e

# meet has all the others know this one's address, and this one theirs. Whom it knows already it meets again:
# that is how a new address becomes known. Who has no address yet meets this one when it starts.
meet() {
	n=0
	for node in $nodes; do
		if [ "$n" -ne "$index" ]; then
			ip=$(getent ahosts "${node%:*}" | awk 'NR == 1 { print $1 }') || ip=
			[ -z "$ip" ] || cli CLUSTER MEET "$ip" "${node##*:}" >/dev/null 2>&1 || :
		fi
		n=$((n + 1))
	done
}

# Lines of CLUSTER NODES: id, address, flags, primary, ping, pong, epoch, link, slots.
role() { cli CLUSTER NODES | awk '$3 ~ /myself/ { print ($3 ~ /slave/ ? "replica" : NF > 8 ? "primary" : "none") }'; }
# others are those whose link works, and of whom it is so known what they have.
others() { cli CLUSTER NODES | awk '$3 !~ /myself|handshake|noaddr|fail/ && $8 == "connected"' | wc -l; }
# owner has a slot, dead or alive.
owner() {
	cli CLUSTER NODES | awk -v slot="$1" '{
		for (i = 9; i <= NF; i++) if ($i !~ /^\[/) { n = split($i, r, "-"); if (slot >= r[1] + 0 && slot <= r[n] + 0) print $1 }
	}'
}

# step does what can be done now, and fails as long as there is more to do.
step() {
	[ "$(role)" = none ] || return 0
	[ "$(others)" -ge 5 ] || return 1
	part=$((index % 3))
	first=$((part * 16384 / 3))
	last=$(((part + 1) * 16384 / 3 - 1))
	has=$(owner "$first") || return 1
	if [ -n "$has" ] && [ "$has" != "$me" ]; then
		cli CLUSTER REPLICATE "$has" >/dev/null || return 1
		echo "node $index follows $has"
	elif [ "$index" -lt 3 ]; then
		# An epoch of its own, so that no two claims are ever as good as each other. It can be set once.
		cli CLUSTER SET-CONFIG-EPOCH $((index + 1)) >/dev/null 2>&1 || :
		cli CLUSTER ADDSLOTSRANGE "$first" "$last" >/dev/null || return 1
		echo "node $index has the slots $first to $last"
	fi
	[ "$(role)" != none ]
}

# join goes on as long as the server lives: names take a while to be known, and old addresses to be forgotten.
join() {
	tries=0
	until step 2>/dev/null; do
		kill -0 "$server" 2>/dev/null || return 0
		[ $((tries % 10)) -ne 0 ] || meet
		tries=$((tries + 1))
		[ $((tries % 120)) -ne 0 ] || echo "node $index waits for a role: it sees $(others) of 5 others" >&2
		sleep 0.5
	done
	echo "node $index is a $(role)"
	meet
	while sleep 5 && kill -0 "$server" 2>/dev/null; do
		[ "$(others)" -ge 5 ] || meet
	done
}
join &
joiner=$!
ended
