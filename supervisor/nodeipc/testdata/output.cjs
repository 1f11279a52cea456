// Prints what it is told, in the usual ways, and says so.
'use strict'

process.on('message', (text) => {
  console.log(text)
  console.error(text)
  process.stdout.write(`${text}, written\n`)
  setImmediate(() => process.send('printed')) // by then a stream has told of its errors
})
process.send('listens')
