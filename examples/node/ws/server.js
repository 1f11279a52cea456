const { WebSocketServer } = require('ws')

const server = new WebSocketServer({ port: process.env.PORT ?? 3000 })

server.on('connection', (socket) => {
  socket.on('message', (text) => socket.send(`${process.pid} has heard ${text}`))
})
