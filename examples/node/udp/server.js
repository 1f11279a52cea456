const dgram = require('node:dgram')

const socket = dgram.createSocket('udp4')

socket.on('message', (message, from) => {
  socket.send(`${process.pid} has heard ${message}`, from.port, from.address)
})

socket.bind(process.env.PORT ?? 3000)
