const http = require('node:http')

const server = http.createServer((request, response) => {
  response.end(`hello from ${process.pid}\n`)
})

server.listen(process.env.PORT ?? 3000)
