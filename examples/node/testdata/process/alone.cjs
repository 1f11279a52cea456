// A worker binds by itself what is to be its own, and the port that it shares by the
// kernel's means.
const http = require('node:http')

const answer = (request, response) => response.end(`hello from ${process.pid}\n`)
const server = http.createServer(answer).listen({ port: Number(process.env.FREE), host: '127.0.0.1', reusePort: true }, () => {
  console.log('listens', server.address().port)
})
