// It takes jobs from somewhere, and listens nowhere.
const { setTimeout } = require('node:timers/promises')

async function work() {
  for (;;) {
    await setTimeout(100)
    console.log(`instance ${process.env.NODE_APP_INSTANCE} has done a job`)
  }
}

work()
