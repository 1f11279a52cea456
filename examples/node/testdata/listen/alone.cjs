// Servers that are nobody else's.
const { say, listen, server } = require('./say.cjs')

async function main() {
  await listen('exclusive', server(), { port: 0, exclusive: true })
  const handle = server()
  await listen('first', handle, 0, '127.0.0.1')
  await listen('the same, exclusive', server(), { port: handle.address().port, host: '127.0.0.1', exclusive: true })
  say('done')
}
main()
