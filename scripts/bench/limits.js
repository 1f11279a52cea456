// What neko's limits are measured beside: rate-limiter-flexible, as its README sets it up,
// with as many decisions under way at once as its caller likes. Argument: JSON, see deciding in limits.go.
// It warms up, prints a line, waits for one, and prints what it has decided.
'use strict';

const { createRequire } = require('node:module');
const job = JSON.parse(process.argv[2]);
const need = createRequire(job.modules + '/');
const { RateLimiterRedis, RateLimiterMemory } = need('rate-limiter-flexible');

const rule = { points: job.limit, duration: job.seconds, keyPrefix: 'bench' };
let limiter, client;
if (job.redis) {
  const Redis = need('ioredis');
  client = new Redis(job.redis, { enableAutoPipelining: job.pipelined, maxRetriesPerRequest: 0 });
  limiter = new RateLimiterRedis({ ...rule, storeClient: client, inMemoryBlockOnConsumed: job.blocks ? job.limit : 0 });
} else {
  limiter = new RateLimiterMemory(rule);
}

const keys = Array.from({ length: job.keys }, (_, i) => 'client-' + i);
let decisions = 0, refused = 0, until = 0;

// one is a client that asks again as soon as it has its answer.
async function one(next) {
  while (performance.now() < until) {
    for (let i = 0; i < (client ? 1 : 64); i++) { // in memory nothing waits: looking at the time would count
      try {
        await limiter.consume(keys[next]);
      } catch (answer) {
        if (answer instanceof Error) throw answer;
        refused++;
      }
      decisions++;
      next = (next + 1) % keys.length;
    }
  }
}

async function run(seconds) {
  const began = performance.now();
  until = began + seconds * 1000;
  decisions = refused = 0;
  await Promise.all(Array.from({ length: client ? job.inFlight : 1 }, (_, i) => one((i * 37) % keys.length)));
  return { decisions, refused, seconds: (performance.now() - began) / 1000 };
}

(async () => {
  let { decisions, refused } = await run(job.warm);
  for (let i = 0; job.full && refused < decisions * 0.9 && i < 50; i++) {
    ({ decisions, refused } = await run(0.2));
  }
  console.log('warm');
  await new Promise((resolve) => process.stdin.once('data', resolve));
  console.log(JSON.stringify(await run(job.measured)));
  process.exit(0);
})().catch((err) => {
  console.error(String(err.stack || err));
  process.exit(1);
});
