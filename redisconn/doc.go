// Package redisconn is a connection to Redis that cannot harm who uses it: to one server, a Cluster,
// or a master behind Sentinels, by way of rueidis.
//
//   - It neither waits for Redis nor fails without it. It connects in the background, and again
//     whenever that is needed.
//   - A call ends with its context at the latest, and the number of those that are under way is bounded.
//   - A connection on which nothing has come for a while is asked for a sign of life, and given up
//     if none comes.
//   - A server that is no Redis, or sends what nobody can hold, is an outage and no end of the process.
//   - An outage is told to the log once, with what can be done about it, and so is its end.
//   - No password is in an error.
//   - Close cuts everything, and nothing is left of it.
//
// Who wants to know of changes of keys has it tracked (Options.Track): see tracking.go for what can be
// relied on.
package redisconn
