// Package redis is a [limiter.Source] in Redis 6.2 or later (tried with 7.0), alone, as a Cluster or with
// Sentinels. Buckets fill by the clock of the server that has them.
//
// # What is in Redis
//
// For each policy and client that is not idle one key, PREFIXlimit:POLICY:HASH, with two numbers:
// when the bucket is full again, and the depth of who wrote that, both in microseconds (grant.lua says
// why). It expires when the bucket is full. PREFIXhosts is a sorted set of hashes of the hosts that have
// been there in the last ten seconds. With the prefix neko: a key takes about 200 bytes. How
// many there are follows from how many clients come in the time in which what they take fills again: a
// thousand clients a second, each of whom takes one token of a policy of 5 a minute, are 12,000 keys.
//
// Where clients could be too many for that, give Redis a maxmemory, and the
// maxmemory-policy volatile-ttl: then the buckets go first that would be full soonest. Without such
// a policy a full Redis refuses to write, and each policy decides as its fail says.
//
// # What its user must be allowed
//
//	ACL SETUSER neko on >PASSWORD ~neko:* -@all +eval +evalsha +time +get +set +del +zadd +zremrangebyscore +zremrangebyrank +zcard +pexpire
//
// In a Cluster also +cluster|slots (with Redis 8 +cluster|shards), with Sentinels also
// +role. A user of the Sentinels themselves needs
//
//	ACL SETUSER neko on >PASSWORD allchannels -@all +sentinel|sentinels +sentinel|get-master-addr-by-name +subscribe +unsubscribe +ping
//
// # What a failover costs
//
// Replication is asynchronous: what a master granted and had not passed on is forgotten,
// and a bucket has that much more than it should, once.
//
//   - A master that dies or stands still: what it granted in the last moments; in tests none or a
//     few calls. A replica that was attached less than a second ago has not been sent anything
//     since: up to a second of grants.
//   - A failover by command (SENTINEL FAILOVER): the old master goes on until the Sentinels
//     have seen that the new one is one, which they look for every second: up to about a second of grants.
//   - A master that is cut off with some of the hosts goes on granting to these until it is
//     joined again, or for min-replicas-max-lag if it has min-replicas-to-write 1.
//
// Where the new master's clock is behind, buckets are at most empty, and fill from then on.
// In a Cluster set cluster-require-full-coverage no: else all of it stops when one master has no
// successor.
//
// # When Redis is away
//
// A call fails when its context ends, at the latest, and mostly at once. A connection on which nothing has come for
// a second is given up (package redisconn). Redis is used again as soon as it answers: each call tries.
package redis
