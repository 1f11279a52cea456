'use strict'
// A server of the kind that is its first argument. What it is to wait for comes
// as the message 'go', and 'drains' it sends back.
const { readFileSync } = require('node:fs')
const [kind, how = ''] = process.argv.slice(2)

const waiting = []
process.on('message', (message) => {
  if (message === 'drains') process.send(message)
  if (message === 'go') release()
})
process.on('SIGUSR2', release) // for want of a channel
function release() {
  for (const go of waiting.splice(0)) go()
}
const go = () => new Promise((resolve) => {
  waiting.push(resolve)
  process.send('waits')
})

async function answer(request, response) {
  switch (request.url) {
    case '/slow':
      await go()
      response.end('slow')
      break
    case '/stream':
      response.write('first ')
      await go()
      response.end('last')
      break
    case '/endless':
      response.write('first ')
      break
    case '/large':
      response.end(Buffer.alloc(16 << 20))
      break
    case '/early': // does not read what comes
      response.end('early')
      break
    case '/body': {
      let size = 0
      for await (const chunk of request) {
        if (size === 0 && how !== 'quiet') process.send('reads')
        size += chunk.length
      }
      response.end(String(size))
      break
    }
    case '/set': // keep-alive, as proxies do
      response.setHeader('Connection', 'keep-alive')
      response.end('kept')
      break
    case '/object':
      response.writeHead(200, 'OK', { connection: 'keep-alive' }).end('kept')
      break
    case '/list':
      response.writeHead(200, ['Connection', 'keep-alive', 'X-Connection', 'keep-alive']).end('kept')
      break
    case '/listen': // another server, from now on
      make().listen(0, '127.0.0.1', () => response.end('listens'))
      break
    default:
      response.end('hello')
  }
}

function make() {
  const tls = process.env.CERT && { cert: readFileSync(process.env.CERT), key: readFileSync(process.env.KEY) }
  switch (kind) {
    case 'http': return require('node:http').createServer(answer)
    case 'https': return require('node:https').createServer(tls, answer)
    case 'h2c': return require('node:http2').createServer(answer)
    case 'http2': return require('node:http2').createSecureServer({ ...tls, allowHTTP1: true }, answer)
    case 'net': return require('node:net').createServer((socket) => {
      socket.on('error', () => {})
      socket.write('hello\n')
      socket.pipe(socket)
    })
    case 'upgrade': return require('node:http').createServer(answer).on('upgrade', (request, socket) => {
      socket.on('error', () => {})
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
      socket.pipe(socket)
    })
    case 'ws': {
      const server = require('node:http').createServer(answer)
      const { WebSocketServer } = require(process.env.WS)
      new WebSocketServer({ server }).on('connection', (socket) => {
        socket.on('message', (data) => socket.send(data))
      })
      return server
    }
  }
}

const server = make()
server.keepAliveTimeout = Number(process.env.KEEP_ALIVE || 0)
if (process.env.FORK) server.once('listening', () => process.send('listens'))
server.listen(process.env.SOCKET || 0, process.env.SOCKET ? undefined : '127.0.0.1')

if (how === 'closes') process.on('SIGINT', () => server.close((error) => process.exit(error ? 1 : 0)))
if (how === 'event') process.on('SIGINT', () => server.on('close', () => process.exit(3)).close())
let ends = 5
if (how === 'counts') process.on('SIGINT', () => { ends++; setImmediate(() => process.exit(ends)) })
if (how === 'message') process.on('message', (message) => { if (message === 'shutdown') process.exit(5) })
