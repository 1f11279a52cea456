import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'

const greeting: string = `hello from ${process.pid}\n`

createServer((request: IncomingMessage, response: ServerResponse) => {
  response.end(greeting)
}).listen(process.env.PORT ?? 3000)
