const Koa = require('koa')

const app = new Koa()

app.use((context) => {
  context.body = `hello from ${process.pid}\n`
})

app.listen(process.env.PORT ?? 3000)
