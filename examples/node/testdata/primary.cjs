// Node's own cluster primary in nekoctl's place: two workers of a program, whose lines
// are printed with the number of the worker before them.
const cluster = require('node:cluster')
const { createInterface } = require('node:readline')

cluster.schedulingPolicy = cluster.SCHED_NONE
cluster.setupPrimary({ exec: process.argv[2], silent: true })
for (let i = 0; i < 2; i++) {
  const worker = cluster.fork({ NODE_APP_INSTANCE: i })
  createInterface({ input: worker.process.stdout }).on('line', (line) => console.log(`${i} ${line}`))
  worker.process.stderr.pipe(process.stderr)
  worker.on('exit', () => process.exit())
}
process.stdin.on('end', () => {
  for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGKILL')
}).resume()
