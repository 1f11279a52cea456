'use strict'
// Ends a Node program so that no client notices. Node itself cannot:
// server.close() cuts idle keep-alive connections, whose clients may be writing,
// and answers the busy ones as if they had a future.
//
// It is loaded before the program (node --require) and does nothing but keep that
// alive while nobody reads what it prints, until the supervisor says over the IPC
// channel
//
//   {"cmd":"NODE_NEKO","act":"drain","soft":MS,"hard":MS,"end":"signal"|"message"}
//
// Then servers accept no more, and answers say Connection: close. At soft, idle
// connections are closed; at hard, all are. When no server has a connection any
// more the program is told to end: by its own handler of SIGINT or SIGTERM, or
// of the message 'shutdown', and without one it exits with 0.

const net = require('node:net')
const { constants } = require('node:os')

const loaded = Symbol.for('neko.drain')
const sweepEvery = 500 // ms: how often idle connections are looked for after soft
const lastWords = 500 // ms: what clients have at hard to close by themselves
const hidden = { writable: true, configurable: true, enumerable: false }
const goingAway = Buffer.from([0x88, 2, 1001 >> 8, 1001 & 255]) // a WebSocket's close frame

// What the program starts by process.execArgv (child_process.fork, cluster) is
// its own affair.
for (let i = process.execArgv.length; i-- > 1;) quietly(() => {
  if (process.execArgv[i - 1] === '--require' && require.resolve(process.execArgv[i]) === __filename) process.execArgv.splice(i - 1, 2)
})

// Living has what is not destroyed. The objects get no listener for it, and no
// WeakRef, which costs a tenth of all that a short connection does: what has
// ended is let go of when as much again has come, or a second later.
class Living {
  things = []
  limit = 64
  timer = null

  add(thing, server) {
    if (this.things.length >= this.limit) this.sweep()
    this.things.push({ thing, server })
    this.timer ??= setTimeout(() => this.late(), 1000).unref()
  }

  late() {
    this.sweep()
    this.timer = this.things.length > 0 ? setTimeout(() => this.late(), 1000).unref() : null
  }

  sweep() {
    this.things = this.things.filter(({ thing }) => !thing.destroyed)
    this.limit = 2 * this.things.length + 64
  }

  each(visit) {
    for (const { thing, server } of this.things) {
      if (!thing.destroyed) quietly(() => visit(thing, server))
    }
  }
}

// outliveReader keeps a program alive that prints while nobody reads: while the
// supervisor is gone, even console.log would end it with EPIPE. The stream is
// not looked at before the program does.
function outliveReader(name) {
  const property = Object.getOwnPropertyDescriptor(process, name)
  let seen
  Object.defineProperty(process, name, {
    ...property,
    get() {
      const stream = property.get.call(this)
      if (stream !== seen) {
        seen = stream
        stream.on('error', (error) => {
          if (error.code !== 'EPIPE' && stream.listenerCount('error') === 1) throw error // as if we did not listen
        })
      }
      return stream
    }
  })
}

// quietly keeps from the program what goes wrong here.
function quietly(act) {
  try { act() } catch {}
}

// Worker threads load it too: they have no channel, and asking for it throws.
if (require('node:worker_threads').isMainThread && process.channel && !net.Server[loaded]) {
  Object.defineProperty(net.Server, loaded, { value: true })
  quietly(() => outliveReader('stdout'))
  quietly(() => outliveReader('stderr'))
  quietly(install)
}

// define replaces a method; whether it can be enumerated stays as it is.
function define(prototype, method) {
  const [[name, value]] = Object.entries(method)
  Object.defineProperty(prototype, name, { ...Object.getOwnPropertyDescriptor(prototype, name) ?? hidden, value })
}

// closing has Connection: close for what a program says of the connection in
// headers: an object, a list of names and values, or a list of pairs of them.
function closing(headers) {
  const value = (name, old) => /^connection$/i.test(name) ? 'close' : old
  const pair = ([name, old]) => [name, value(name, old)]
  if (!Array.isArray(headers)) return Object.fromEntries(Object.entries(headers).map(pair))
  return headers.map((old, i) => Array.isArray(old) ? pair(old) : i % 2 ? value(headers[i - 1], old) : old)
}

function install() {
  const servers = new Set() // that listen, or have connections left
  const ours = new WeakSet() // servers that were closed here
  const sockets = new Living()
  const sessions = new Living() // of HTTP/2
  const upgraded = new WeakMap() // socket: is it a WebSocket?
  const responses = new WeakMap() // socket: the last response that is not sent yet
  const told = new WeakSet() // responses that say Connection: close because of us
  const read = new WeakMap() // socket: how many bytes it had read when it was last seen idle
  const messageListeners = process.listenerCount('message') // the cluster module's own
  let draining = null

  // Whatever happens to a server is an event of it: this is the one place where
  // TLS sockets, HTTP/2 sessions and upgrades can be seen, and adding listeners
  // would not do, as a server with one for 'upgrade' acts differently.
  const { emit, close } = net.Server.prototype
  define(net.Server.prototype, { emit(event, ...args) {
    switch (event) {
      case 'listening':
        servers.add(this)
        if (draining) process.nextTick(stop, this)
        break
      case 'close':
        if (servers.delete(this) && draining) setImmediate(whenDrained)
        break
      case 'connection':
      case 'secureConnection':
        quietly(() => sockets.add(args[0], this))
        break
      case 'session':
        quietly(() => { sessions.add(args[0], this); if (draining) retire(args[0]) })
        break
      case 'connect':
      case 'upgrade':
        quietly(() => upgraded.set(args[1], /\bwebsocket\b/i.test(args[0].headers.upgrade)))
    }
    return emit.call(this, event, ...args)
  } })

  const { subscribe } = require('node:diagnostics_channel')
  subscribe('http.server.request.start', ({ response, socket }) => {
    if (draining) {
      // Behind Connection: close no request is answered, so only the last of
      // those that were sent at once says so.
      const before = responses.get(socket)
      if (before && told.delete(before)) before.shouldKeepAlive = true
      sayClose(response)
    }
    responses.set(socket, response)
  })
  subscribe('http.server.response.finish', ({ request, response, socket }) => {
    if (responses.get(socket) === response) responses.delete(socket)
    // The rest of a body that nobody waited for would be answered with a reset,
    // which can overtake the answer. The client closes.
    if (draining && !request.complete && told.has(response)) response._last = false
  })

  process.on('internalMessage', (message) => {
    if (message?.cmd === 'NODE_NEKO' && message.act === 'drain' && !draining) quietly(() => drain(message))
  })

  function drain({ soft = 6000, hard = 10000, end = 'signal' }) {
    const { worker } = require('node:cluster')
    draining = { since: performance.now(), soft, hard, end, worker, exitedAfterDisconnect: worker?.exitedAfterDisconnect }
    draining.sweep = setTimeout(sweep, Math.min(soft, hard))
    draining.cut = setTimeout(cut, hard)
    // A cluster worker whose channel closes exits at once, unless it was about to.
    if (worker) worker.exitedAfterDisconnect = true
    servers.forEach(stop)
    sockets.each((socket) => { if (responses.has(socket)) sayClose(responses.get(socket)) })
    sockets.each(closeIfIdle) // none is closed yet, but how much each has read is noted
    sessions.each(retire)
    setImmediate(whenDrained)
    // A program that closes its servers at the end is not told that they were closed already.
    define(net.Server.prototype, { close(callback) {
      if (!ours.has(this) || typeof callback !== 'function') return close.apply(this, arguments)
      this.once('close', callback)
      return close.call(this)
    } })
    // Proxies copy Connection: keep-alive into their answers.
    const { ServerResponse } = require('node:http')
    const { writeHead } = ServerResponse.prototype
    define(ServerResponse.prototype, { writeHead(statusCode, ...rest) {
      if (told.has(this)) {
        if (this.hasHeader('connection')) this.setHeader('connection', 'close')
        rest = rest.map((arg) => arg && typeof arg === 'object' ? closing(arg) : arg)
      }
      return writeHead.call(this, statusCode, ...rest)
    } })
  }

  // stop has a server accept no more; http's own close would also cut connections.
  function stop(server) {
    if (server.listening) {
      ours.add(server)
      quietly(() => close.call(server))
    } else {
      // Closed by the program, or one whose socket the cluster module took for its
      // workers: that will never say that it is closed.
      server.getConnections((_, n) => { if (n === 0 && servers.delete(server)) whenDrained() })
    }
  }

  function sayClose(response) {
    if (response.headersSent || !response.shouldKeepAlive) return
    response.shouldKeepAlive = false
    told.add(response)
  }

  // retire lets an HTTP/2 session finish its streams. Its GOAWAY names the last one
  // that was heard of, so that a client knows which it has to send elsewhere.
  // (nghttp2 ignores all later ones, whatever number a GOAWAY names.) A fresh one
  // is there for a stream, which it gets.
  function retire(session) {
    if (session.state.lastProcStreamID > 0) session.close()
    else session.once('stream', () => session.close())
  }

  function sweep() {
    sessions.each((session) => session.close())
    // What a server has promised in Keep-Alive: timeout= is kept, unless it is
    // to be at once, as nobody can connect until it has gone.
    const passed = draining.soft === 0 ? Infinity : performance.now() - draining.since
    sockets.each((socket, server) => { if (passed >= (server.keepAliveTimeout || 0)) closeIfIdle(socket, server) })
    draining.sweep = setTimeout(sweep, sweepEvery)
  }

  // closeIfIdle closes an HTTP/1 connection without a response under way that has
  // read nothing since it was last looked at.
  function closeIfIdle(socket, server) {
    if (responses.has(socket) || upgraded.has(socket)) return
    if (handshakes(socket, server) ? socket.bytesRead > 0 : !speaksHTTP1(socket, server)) return
    if (read.has(socket) && read.get(socket) === socket.bytesRead) socket.destroySoon()
    read.set(socket, socket.bytesRead)
  }

  // handshakes says whether a socket is the one below a TLS socket, which has
  // none above it as long as it has read nothing.
  function handshakes(socket, server) {
    return !!server.setSecureContext && !socket.encrypted
  }

  // speaksHTTP1 knows servers of HTTP/2 (updateSettings), which serve HTTP/1 over TLS alone.
  function speaksHTTP1(socket, server) {
    return server.updateSettings ? socket.encrypted && socket.alpnProtocol !== 'h2' : !!server.closeIdleConnections
  }

  // cut ends what still lives at the hard deadline.
  function cut() {
    clearTimeout(draining.sweep)
    sessions.each((session) => session.destroy())
    sockets.each((socket, server) => {
      if (socket.alpnProtocol === 'h2' || handshakes(socket, server)) return
      socket.on('error', () => {}) // of a program that writes on
      if (upgraded.get(socket)) socket.write(goingAway)
      socket.end()
    })
    draining.cut = setTimeout(() => {
      sockets.each((socket) => socket.destroy())
      setImmediate(finish)
    }, lastWords)
  }

  function whenDrained() {
    if (servers.size === 0) finish()
  }

  function finish() {
    if (draining.done) return
    draining.done = true
    const { end, worker, sweep, cut } = draining
    clearTimeout(sweep)
    clearTimeout(cut)
    if (worker && process.connected) worker.exitedAfterDisconnect = draining.exitedAfterDisconnect
    if (end === 'message' && (process.listenerCount('message') > messageListeners || worker?.listenerCount('message'))) {
      process.emit('message', 'shutdown')
      return
    }
    // PM2 sends SIGINT, and most of the rest SIGTERM: what the program heeds.
    const signal = end !== 'message' && ['SIGINT', 'SIGTERM'].find((name) => process.listenerCount(name))
    if (signal) {
      process.emit(signal, signal, constants.signals[signal])
    } else {
      exit()
    }
  }

  // exit has the workers of a program that is a primary finish first. Many primaries
  // fork another for each that goes: those are not waited for.
  function exit() {
    const cluster = require('node:cluster')
    const left = draining.since + draining.hard - performance.now()
    const workers = new Set(Object.values(cluster.workers ?? {}))
    if (left <= 0 || workers.size === 0) process.exit(0)
    setTimeout(() => process.exit(0), left)
    cluster.on('disconnect', (worker) => {
      workers.delete(worker)
      if (workers.size === 0) process.exit(0)
    })
    quietly(() => cluster.disconnect())
  }
}
