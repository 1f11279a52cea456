// What a hit of neko's response cache is measured beside: Mercurius with its JIT, and
// mercurius-cache in Redis, as its README sets it up. Argument: JSON with modules (where
// they are installed), data (a file) and redis.
'use strict';

const { createRequire } = require('node:module');
const fs = require('node:fs');
const job = JSON.parse(process.env.BENCH_JOB);
const need = createRequire(job.modules + '/');
const fastify = need('fastify');
const mercurius = need('mercurius');
const cache = need('mercurius-cache');
const Redis = need('ioredis');

const { techniques } = JSON.parse(fs.readFileSync(job.data, 'utf8'));
const byId = new Map(techniques.flatMap((t) => [[t.id, t], [t.attackId, t]]));

const app = fastify();
app.register(mercurius, {
  schema: fs.readFileSync(job.schema, 'utf8'),
  resolvers: {
    Query: { technique: async (_, { id }) => byId.get(id) ?? null },
    Technique: { mitigations: (t, { first }) => ({ nodes: t.mitigations.nodes.slice(0, first), totalCount: t.mitigations.totalCount }) },
  },
  jit: 1,
});
app.register(cache, {
  ttl: 3600,
  storage: { type: 'redis', options: { client: new Redis(job.redis) } },
  policy: { Query: { technique: true } },
});
app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' }).catch((err) => {
  console.error(err);
  process.exit(1);
});
