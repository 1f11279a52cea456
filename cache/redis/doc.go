// Package redis is a [cache.Shared] in Redis 6.2 or later (tried with 7.0), alone, as a Cluster or with
// Sentinels.
//
// # What is in Redis
//
//   - PREFIXcache:answer:KEY, what Store was given, for as long as it said. It carries the generations that its tags had
//     and never changes, so nobody needs to be told of it.
//   - PREFIXcache:tag:NAME, the generation of a tag: 8 random bytes. Who reads a tag that has none gives it one (SET NX).
//     So a tag that was evicted, flushed or has expired has another one afterwards, and what was stored before is no good
//     any more, rather than good again.
//   - PREFIXcache:lock:KEY, who makes an answer.
//
// Names of tags are written as in a URL; package cache has made them small, and has numbers in the place of ids. Keys have no braces: a Cluster spreads them by all they are.
//
// # How a change is told
//
// Redis tells each connection of every tag that another changes (package redisconn, tracking.go, has what that rests on). What
// is told is passed on for tags that Load has returned, and only for these. So what Load has returned of a tag is
// right until it is told otherwise, or lost. Load itself reads all from Redis, and has what was invalidated before: who
// knows from elsewhere that something was, as processes of one host do, never gets what was there before.
//
// A connection that ends is lost; one on which nothing comes is given up within a second, and then that is.
//
// # What a failover costs
//
// Replication is asynchronous: an invalidation that a master has answered may be unknown to its successor, and
// an old generation back. So every process remembers what it has invalidated in the last minute, and does it
// again whenever a connection was lost, as soon as there is one. Until then, and for good if that process has ended
// meanwhile, what was made before may be served again, for as long as its policy says. The same goes for a Redis that
// starts with data of more than a minute ago: a cache needs none to be kept (save "", appendonly no).
//
// A master that is cut off from its replicas together with a host tells this one nothing of what the others do
// at its successor. In a Cluster it stops to answer after cluster-node-timeout, but what it has told stays; with
// Sentinels it goes on. What such a host has in memory is then as old as its policy lets it become.
//
// # When Redis is full
//
// Reading goes on, and so does Invalidate: what cannot be set is removed, which does the same. With a maxmemory
// set a maxmemory-policy that lets answers go: allkeys-lru. An answer that was invalidated stays until
// it is overwritten, its time is over, or it is evicted.
//
// # What its user must be allowed
//
//	ACL SETUSER neko on >PASSWORD ~neko:* -@all +client|tracking +get +set +del +eval +evalsha
//
// In a Cluster also +cluster|slots (with Redis 8 +cluster|shards), with Sentinels also +role. A user of the
// Sentinels themselves needs
//
//	ACL SETUSER neko on >PASSWORD allchannels -@all +sentinel|sentinels +sentinel|get-master-addr-by-name +subscribe +unsubscribe +ping +client|tracking
package redis
