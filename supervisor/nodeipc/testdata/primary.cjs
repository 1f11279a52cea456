'use strict'
// Node's own cluster primary in the supervisor's place. It runs one program with
// the preload, passes on what it reads (a JSON value a line), and prints what
// the worker's channel and end say.
const cluster = require('node:cluster')
const { createInterface } = require('node:readline')

const [preload, program, ...args] = process.argv.slice(2)
const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')

cluster.schedulingPolicy = cluster.SCHED_NONE
cluster.setupPrimary({ exec: program, args, execArgv: ['--require', preload] })
const worker = cluster.fork()
worker.on('listening', ({ port, address }) => say({ event: 'listening', port, address }))
worker.on('message', (message) => say({ event: 'message', message }))
worker.process.on('exit', (code, signal) => {
  say({ event: 'exit', code, signal })
  process.exit()
})
createInterface({ input: process.stdin }).on('line', (line) => {
  if (line === 'disconnect') worker.process.disconnect()
  else worker.process.send(JSON.parse(line))
}).on('close', () => worker.process.kill('SIGKILL'))
