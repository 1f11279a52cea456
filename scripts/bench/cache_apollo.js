// What a hit of neko's response cache is measured beside: Apollo Server, with its response
// cache in Redis, as its documentation sets it up. Argument: as that of cache_mercurius.js.
'use strict';

const { createRequire } = require('node:module');
const fs = require('node:fs');
const job = JSON.parse(process.env.BENCH_JOB);
const need = createRequire(job.modules + '/');
const { ApolloServer } = need('@apollo/server');
const { startStandaloneServer } = need('@apollo/server/standalone');
const { ApolloServerPluginCacheControl } = need('@apollo/server/plugin/cacheControl');
const plugin = need('@apollo/server-plugin-response-cache');
const { KeyvAdapter } = need('@apollo/utils.keyvadapter');
const { Keyv } = need('keyv');
const { default: KeyvRedis } = need('@keyv/redis');

const { techniques } = JSON.parse(fs.readFileSync(job.data, 'utf8'));
const byId = new Map(techniques.flatMap((t) => [[t.id, t], [t.attackId, t]]));
const responseCache = plugin.default ?? plugin;

const server = new ApolloServer({
  typeDefs: fs.readFileSync(job.schema, 'utf8'),
  resolvers: {
    Query: { technique: (_, { id }) => byId.get(id) ?? null },
    Technique: { mitigations: (t, { first }) => ({ nodes: t.mitigations.nodes.slice(0, first), totalCount: t.mitigations.totalCount }) },
  },
  cache: new KeyvAdapter(new Keyv(new KeyvRedis(job.redis))),
  plugins: [ApolloServerPluginCacheControl({ defaultMaxAge: 3600 }), responseCache()],
});
startStandaloneServer(server, { listen: { port: Number(process.env.PORT), host: '127.0.0.1' } }).catch((err) => {
  console.error(err);
  process.exit(1);
});
