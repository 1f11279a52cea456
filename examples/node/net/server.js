const net = require('node:net')

const server = net.createServer((socket) => {
  socket.on('error', () => {})
  socket.pipe(socket)
})

server.listen(process.env.PORT ?? 3000)
