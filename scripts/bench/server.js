// The Node server that PM2 runs in the benchmark: the least that answers.
require('node:http')
  .createServer((_, res) => res.end('{"data":{"__typename":"Query"}}'))
  .listen(Number(process.env.PORT), '127.0.0.1')
