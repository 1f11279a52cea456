#!/bin/sh
# A probe: there is an answer at the port, by a user who may do nothing but ask for it. The password is
# any: without one redis-cli does not say who it is.
[ "$(REDISCLI_AUTH=none redis-cli -p "${NEKO_REDIS_PORT:-6379}" --user health PING)" = PONG ]
