'use strict'
// Node's own parent in the supervisor's place: runs a program with the preload,
// as a worker of a cluster or, with FORK set, as a child. It passes on the JSON
// values that it reads, a line each, heeds a few words, and prints what it hears.
const cluster = require('node:cluster')
const { fork } = require('node:child_process')
const { createInterface } = require('node:readline')

const [preloads, program, ...args] = process.argv.slice(2)
const execArgv = preloads.split(',').filter(Boolean).flatMap((path) => ['--require', path])
const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')

cluster.schedulingPolicy = cluster.SCHED_NONE
cluster.setupPrimary({ exec: program, args, execArgv })
let child
let running = 0

function start(whenListening = () => {}) {
  if (process.env.FORK) {
    child = fork(program, args, { execArgv })
  } else {
    const worker = cluster.fork()
    worker.on('listening', ({ port }) => {
      say({ event: 'listening', port })
      whenListening()
    })
    child = worker.process
  }
  running++
  child.on('message', (message) => say({ event: 'message', message }))
  child.on('exit', (code, signal) => {
    say({ event: 'exit', code, signal })
    if (--running === 0) process.exit()
  })
}

start()
createInterface({ input: process.stdin }).on('line', (line) => {
  const old = child
  if (line.startsWith('replace ')) start(() => old.send(JSON.parse(line.slice(8))))
  else if (line === 'disconnect') child.disconnect()
  else if (line.startsWith('SIG')) child.kill(line)
  else child.send(JSON.parse(line))
}).on('close', () => child.kill('SIGKILL'))
