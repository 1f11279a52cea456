import { createServer } from 'node:http'

const { pid } = await import('node:process')

createServer((request, response) => {
  response.end(`hello from ${pid}\n`)
}).listen(process.env.PORT ?? 3000)
