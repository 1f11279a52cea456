const http2 = require('node:http2')

const server = http2.createServer()

server.on('stream', (stream) => {
  stream.respond({ ':status': 200 })
  stream.end(`hello from ${process.pid}\n`)
})

server.listen(process.env.PORT ?? 3000)
