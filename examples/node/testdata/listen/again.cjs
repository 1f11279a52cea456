// A server that closes, and listens again.
const { say, listen, close, server } = require('./say.cjs')

async function main() {
  const one = server()
  for (let i = 0; i < 3; i++) {
    await listen('one', one, Number(process.env.FREE), '127.0.0.1')
    await close('one', one)
    await close('one', one)
  }
  await listen('one', one, Number(process.env.FREE), '127.0.0.1')
  say('done')
}
main()
