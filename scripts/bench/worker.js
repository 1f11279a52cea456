// server.js with what docs/worker-contract.md asks for: the socket that it
// inherits, if it does, and a drain.
const http = require('node:http')
const net = require('node:net')

let draining = false
const server = http.createServer((_, res) => {
  if (draining) res.setHeader('Connection', 'close')
  res.end(`{"data":{"hello":"hello, world, from ${process.pid}"}}`)
})
const inherited = process.env.LISTEN_FDS > 0 && (process.env.LISTEN_PID ?? process.pid) == process.pid
server.listen(inherited ? { fd: 3 } : { port: Number(process.env.PORT), host: '127.0.0.1' })

function drain() {
  if (draining) return
  draining = true
  // Not server.close(): that of http closes idle connections too, and a client
  // that is about to write on one would see a reset.
  net.Server.prototype.close.call(server, () => process.exit(0))
  // PM2 kills after 1.6 s.
  setTimeout(() => server.closeIdleConnections(), 1200).unref()
}
process.on('SIGTERM', drain)
process.on('SIGINT', drain)
