#!/bin/sh
# redis-cli as admin, from within the pod: kubectl -n production exec neko-redis-0 -- sh /etc/redis/cli.sh CLUSTER NODES
run=${NEKO_REDIS_RUN:-/run/redis}
REDISCLI_AUTH=$(cat "$run/admin") exec redis-cli -e -s "$run/redis.sock" --user admin "$@"
