// A server of which one worker stops listening for a while.
const http = require('node:http')
const { setTimeout } = require('node:timers/promises')

const server = http.createServer((request, response) => {
  response.setHeader('connection', 'close')
  response.end(`hello from ${process.pid}\n`)
  if (request.url === '/pause') pause()
}).listen(0)

async function pause() {
  server.close()
  console.log('pauses')
  await setTimeout(300)
  server.listen(0, () => console.log('listens again'))
}
