// The Node server that PM2 runs in the benchmark: the least that answers, and
// says who does.
require('node:http')
  .createServer((_, res) => res.end(`{"data":{"hello":"hello, world, from ${process.pid}"}}`))
  .listen(Number(process.env.PORT), '127.0.0.1')
