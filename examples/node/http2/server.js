const fs = require('node:fs')
const http2 = require('node:http2')

const server = http2.createSecureServer({
  cert: fs.readFileSync(process.env.TLS_CERT),
  key: fs.readFileSync(process.env.TLS_KEY),
  allowHTTP1: true
}, (request, response) => {
  response.end(`hello from ${process.pid}\n`)
})

server.listen(process.env.PORT ?? 3000)
