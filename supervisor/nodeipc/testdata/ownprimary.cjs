const cluster = require('node:cluster')
if (cluster.isPrimary) cluster.fork().on('listening', () => process.send('listens'))
else require('node:http').createServer().listen(0, '127.0.0.1')
