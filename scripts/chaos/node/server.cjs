// A server as they run under PM2, that knows nothing of neko:
//
//	node server.cjs http|express|fastify [sigint]
//
// With sigint it has the usual handler of that signal. As foreign does, it gives each
// request a number, prints "<pid> <number>", and answers the same. misbehave is what
// goes wrong with workers on purpose, as in foreign/fault.go.
'use strict'

const fs = require('node:fs')

const [kind, sigint] = process.argv.slice(2)
let last = 0

function print() {
  const line = `${process.pid} ${++last}`
  console.log(line)
  return line + '\n'
}

// exit ends one of all who share the address.
function exit({ pid, code }) {
  if (Number(pid) === process.pid) process.exit(Number(code))
  return ''
}

const kinds = {
  http(listening) {
    return require('node:http').createServer((request, response) => {
      const url = new URL(request.url, 'http://localhost')
      if (url.pathname === '/livez') return response.end('alive\n')
      if (url.pathname === '/exit') return response.end(exit(Object.fromEntries(url.searchParams)))
      request.resume().on('end', () => response.end(print()))
    }).listen(0, '127.0.0.1', listening)
  },

  express(listening) {
    const express = require('express')
    const app = express()
    app.use(express.json())
    app.get('/livez', (request, response) => response.send('alive\n'))
    app.get('/exit', (request, response) => response.send(exit(request.query)))
    app.post('/', (request, response) => response.send(print()))
    return app.listen(0, '127.0.0.1', listening)
  },

  fastify(listening) {
    const app = require('fastify')()
    app.get('/livez', async () => 'alive\n')
    app.get('/exit', async (request) => exit(request.query))
    app.post('/', async () => print())
    app.listen({ port: 0, host: '127.0.0.1' }, listening)
    return app
  }
}

// fault is what CHAOS_FAULT's file says: no file, no fault.
function fault() {
  try {
    return fs.readFileSync(process.env.CHAOS_FAULT, 'utf8').trim().split(' ')
  } catch {
    return []
  }
}

function die(why) {
  console.error('error:', why)
  process.exit(1)
}

// misbehave says whether the server is not to start.
function misbehave([name, arg]) {
  switch (name) {
    case 'never-ready':
      console.error('waiting for a database that is not there')
      setInterval(() => {}, 1000)
      return true
    case 'die':
      if (arg === undefined || arg === process.env.NEKO_SLOT) die('the settings make no sense')
  }
  return false
}

const wrong = fault()
if (!misbehave(wrong)) {
  const server = kinds[kind](() => {
    // Not before the cluster module has said that it listens, and before anything is accepted.
    if (wrong[0] === 'ready-then-die') process.nextTick(die, 'the first look at the data was the last')
  })
  if (sigint) process.on('SIGINT', () => server.close(() => process.exit(0)))
}
