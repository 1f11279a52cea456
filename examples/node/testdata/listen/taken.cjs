// TAKEN is another program's port.
const { say, listen, server } = require('./say.cjs')

async function main() {
  await listen('number', server(), Number(process.env.TAKEN))
  await listen('host', server(), Number(process.env.TAKEN), '127.0.0.1')
  await listen('object', server(), { port: Number(process.env.TAKEN), host: '127.0.0.1', backlog: 1 })
  await listen('free', server(), 0)
  say('done')
}
main()
