import { createServer } from 'node:http'

process.on('message', (message) => process.send(message))
createServer((request, response) => response.end('hello')).listen(0, '127.0.0.1')
