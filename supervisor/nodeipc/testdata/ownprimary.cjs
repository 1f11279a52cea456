const cluster = require('node:cluster')
if (cluster.isPrimary) {
  if (process.env.REPLACES) cluster.on(process.env.REPLACES, () => cluster.fork())
  cluster.fork().on('listening', () => process.send('listens'))
} else require('node:http').createServer().listen(0, '127.0.0.1')
