// Several servers of a program, on ports, a path and both families.
const path = require('node:path')
const { say, listen, server } = require('./say.cjs')

async function main() {
  await listen('one', server(), 0)
  await listen('two', server(), 0)
  await listen('host', server(), 0, '127.0.0.1')
  await listen('six', server(), { port: 0, host: '::1' })
  await listen('six only', server(), { port: 0, host: '::', ipv6Only: true })
  await listen('path', server(), path.join(process.env.FOLDER, 'web.sock'))
  await listen('name', server(), { port: 0, host: 'localhost' })
  say('done')
}
main()
