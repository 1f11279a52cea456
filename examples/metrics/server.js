'use strict';
const http = require('node:http');
const metrics = require('./metrics');

const [host, port] = (process.env.LISTEN ?? '127.0.0.1:8000').split(':');

const requests = metrics.counter('hello_requests_total', 'Requests, by method.');
const started = metrics.gauge('hello_start_time_seconds', 'When the process was started, in seconds since 1970.');
started.set(Math.round(Date.now() / 1000 - process.uptime()));

http.createServer((req, res) => {
  requests.add(1, { method: req.method === 'GET' ? 'GET' : 'other' });
  res.end(`hello from ${process.pid}\n`);
}).listen(port, host);
