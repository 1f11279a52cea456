const socket = require('node:dgram').createSocket('udp4')
socket.bind({ port: 0, address: '127.0.0.1', exclusive: true }, () => process.send('runs'))
