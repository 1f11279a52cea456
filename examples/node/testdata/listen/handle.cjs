// A descriptor that the primary does not have, and a unix socket without a file.
const { say, listen, close, server } = require('./say.cjs')

async function main() {
  await listen('descriptor', server(), { fd: 999 })
  const abstract = server()
  await listen('abstract', abstract, { path: `\0${process.env.FOLDER}` })
  await close('abstract', abstract)
  say('done')
}
main()
