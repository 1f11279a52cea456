'use strict'
// Says what a program could see of the preload: in itself, in what it forks, and
// in a thread.
const net = require('node:net')
const { fork } = require('node:child_process')
const { isMainThread, parentPort, Worker } = require('node:worker_threads')

const server = new net.Server()
const seen = {
  env: Object.keys(process.env),
  execArgv: process.execArgv,
  argv: process.argv.slice(2),
  listeners: process.eventNames().filter((name) => name !== 'internalMessage').map((name) => `${String(name)} ${process.listenerCount(name)}`),
  prototype: Object.keys(net.Server.prototype),
  server: Object.keys(server),
  listenersOfServer: server.eventNames(),
  keepsAlive: process.getActiveResourcesInfo(),
  close: net.Server.prototype.close.name + net.Server.prototype.close.length,
  emit: net.Server.prototype.emit.name + net.Server.prototype.emit.length,
  loaded: Object.hasOwn(net.Server.prototype, 'emit'),
}

if (!isMainThread) {
  parentPort.postMessage(seen)
} else if (process.argv[2] === 'child') {
  process.send(seen, () => process.disconnect())
} else {
  const { loaded, ...self } = seen
  const report = (kind) => (message) => process.send({ kind, ...message })
  report('self')(self)
  fork(__filename, ['child']).on('message', report('child')).on('exit', () => {
    new Worker(__filename).on('message', report('thread'))
  })
}
