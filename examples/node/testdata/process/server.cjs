// A server that does what its clients ask for, to itself as well.
const { fork } = require('node:child_process')
const cluster = require('node:cluster')
const http = require('node:http')
const { Worker } = require('node:worker_threads')

const deeds = {
  '/'() {},
  '/slow'() {
    console.log('answers slowly')
    return new Promise((resolve) => setTimeout(resolve, 500, 'at last'))
  },
  '/exit'() { process.exit(7) },
  '/throw'() { setImmediate(() => { throw new Error('nobody catches this') }) },
  '/reject'() { Promise.reject(new Error('nobody awaits this')) },
  '/leave'() { cluster.worker.disconnect() },
  '/hang-up'() { process.disconnect() },
  '/options'() { return JSON.stringify({ execArgv: process.execArgv, limit: require('node:v8').getHeapStatistics().heap_size_limit >> 20 }) },
  '/variables'() { return JSON.stringify(Object.keys(process.env).filter((name) => name.startsWith('NODE_'))) },
  '/large'() { return new Promise((resolve) => process.send({ text: 'x'.repeat(10 << 20) }, () => resolve('sent'))) },
  '/flood'() {
    return new Promise((resolve) => {
      let left = 100_000
      for (let i = 0; i < 100_000; i++) process.send({ number: i, text: 'something to say' }, () => { if (--left === 0) resolve('sent') })
    })
  },
  '/thread'() { // which listens by itself
    return new Promise((resolve, reject) => {
      new Worker(`
        const { parentPort } = require('node:worker_threads')
        const server = require('node:http').createServer((request, response) => response.end())
        server.listen(0, '127.0.0.1', () => { parentPort.postMessage('a thread listens'); server.close() })
      `, { eval: true }).on('message', resolve).on('error', reject)
    })
  },
  '/fork'() { // and so does a child
    return new Promise((resolve) => fork(__filename, ['child']).on('message', resolve))
  }
}

if (process.argv[2] === 'child') {
  const server = http.createServer((request, response) => response.end())
  server.listen(0, '127.0.0.1', () => {
    process.send(JSON.stringify({ worker: cluster.isWorker, execArgv: process.execArgv }))
    server.close()
    process.disconnect()
  })
} else {
  const server = http.createServer(async (request, response) => {
    response.end(await deeds[request.url]() ?? `hello from ${process.pid}\n`)
  }).listen(process.env.PORT)
  server.keepAliveTimeout = Number(process.env.IDLE ?? server.keepAliveTimeout)
}
