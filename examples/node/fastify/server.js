const fastify = require('fastify')()

fastify.get('/', async () => `hello from ${process.pid}\n`)

fastify.listen({ port: Number(process.env.PORT ?? 3000) })
