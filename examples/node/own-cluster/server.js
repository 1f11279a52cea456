const cluster = require('node:cluster')
const http = require('node:http')

if (cluster.isPrimary) {
  for (let i = 0; i < 2; i++) cluster.fork()
} else {
  http.createServer((request, response) => {
    response.end(`hello from ${process.pid}\n`)
  }).listen(process.env.PORT ?? 3000)
}
