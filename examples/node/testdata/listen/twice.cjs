// The second server of a process on an address, and of a path.
const { say, listen, close, server } = require('./say.cjs')

async function main() {
  const one = server()
  await listen('one', one, 0, '127.0.0.1')
  await listen('two', server(), one.address().port, '127.0.0.1')
  await listen('three', server(), { port: one.address().port, host: '127.0.0.1' })
  await close('one', one)
  say('done')
}
main()
