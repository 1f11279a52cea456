// What no socket can be had for.
const { say, listen, server } = require('./say.cjs')

async function main() {
  await listen('address', server(), 4000, '192.0.2.1')
  await listen('folder', server(), '/nowhere/at/all.sock')
  await listen('rights', server(), `${process.env.LOCKED}/s.sock`)
  await listen('file', server(), `${process.env.FOLDER}/file`)
  await listen('free', server(), 0)
  say('done')
}
main()
