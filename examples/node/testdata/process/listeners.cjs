// Servers of several kinds, of which each worker says where they are.
const http = require('node:http')
const path = require('node:path')

const answer = (request, response) => response.end(`hello from ${process.pid}\n`)
const listen = (name, ...where) => {
  const server = http.createServer(answer).listen(...where)
  server.on('listening', () => console.log(name, JSON.stringify(server.address()), process.pid))
  server.on('error', (error) => console.log(name, error.code, process.pid))
}

listen('first', 0)
listen('second', 0, '127.0.0.1')
listen('path', path.join(__dirname, 'web.sock'))
listen('six', { port: 0, host: '::', ipv6Only: true })
if (process.env.NODE_APP_INSTANCE === '0') listen('admin', 0, '127.0.0.1')
