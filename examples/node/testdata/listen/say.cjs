// What the programs of this folder print is the same under nekoctl and under Node's own
// primary: what a server comes to, without the numbers that differ each time.
const net = require('node:net')

let first
function place(address) {
  if (typeof address === 'string') return { path: address }
  if (address === null) return null
  first ??= address.port
  return { ...address, port: address.port === first ? 'first' : address.port === first + 1 ? 'next' : 'other' }
}

const say = (...words) => console.log(words.map((w) => typeof w === 'string' ? w : JSON.stringify(w)).join(' '))

// listen resolves when a server listens, or has said why it does not.
function listen(name, server, ...where) {
  return new Promise((resolve) => {
    server.once('listening', () => { say(name, 'listens', place(server.address())); resolve() })
    server.once('error', ({ code, errno, syscall, address, port, message }) => {
      say(name, 'fails', { code, errno, syscall, address, port, message })
      resolve()
    })
    server.listen(...where)
  })
}

const close = (name, server) => new Promise((resolve) => server.close((error) => { say(name, 'closed', error?.code ?? null); resolve() }))

module.exports = { say, listen, close, server: () => net.createServer((socket) => socket.end(`hello from ${process.pid}\n`)) }
