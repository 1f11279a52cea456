// Bun.serve cannot take an open socket; node:net can, and hands its connections to node:http.
import http from 'node:http';
import net from 'node:net';

let draining = false;
const web = http.createServer((req, res) => {
  if (draining) res.setHeader('Connection', 'close');
  res.end(`hello from ${process.pid}\n`);
});

const open = new Set();
const server = net.createServer((socket) => {
  open.add(socket);
  socket.on('close', () => open.delete(socket));
  web.emit('connection', socket);
});
server.listen({ fd: 3 }); // the first of LISTEN_FDS

function drain() {
  if (draining) return;
  draining = true;
  server.close(() => process.exit(0)); // accepts no more, and calls back when all connections have ended
  setTimeout(() => open.forEach((socket) => socket.destroy()), 8000); // shorter than drain_timeout
}
process.on('SIGTERM', drain);
process.on('SIGINT', drain);
