// Datagram sockets.
const dgram = require('node:dgram')
const { say } = require('./say.cjs')

const bind = (name, socket, ...where) => new Promise((resolve) => {
  socket.once('listening', () => { say(name, 'listens', { ...socket.address(), port: 0 }); resolve() })
  socket.once('error', ({ code, errno, syscall, address, port }) => { say(name, 'fails', { code, errno, syscall, address, port }); resolve() })
  socket.bind(...where)
})

async function main() {
  await bind('udp4', dgram.createSocket('udp4'), 0)
  await bind('host', dgram.createSocket('udp4'), 0, '127.0.0.1')
  await bind('udp6', dgram.createSocket('udp6'), 0)
  await bind('six only', dgram.createSocket({ type: 'udp6', ipv6Only: true }), 0)
  await bind('taken', dgram.createSocket('udp4'), Number(process.env.TAKEN), '127.0.0.1')
  say('done')
}
main()
