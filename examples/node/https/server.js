const fs = require('node:fs')
const https = require('node:https')

const server = https.createServer({
  cert: fs.readFileSync(process.env.TLS_CERT),
  key: fs.readFileSync(process.env.TLS_KEY)
}, (request, response) => {
  response.end(`hello from ${process.pid}\n`)
})

server.listen(process.env.PORT ?? 3000)
