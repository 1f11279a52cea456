import http from 'node:http';
import net from 'node:net';
import process from 'node:process';

let draining = false;
const server = http.createServer((req, res) => {
  if (draining) res.setHeader('Connection', 'close');
  res.end(`hello from ${process.pid}\n`);
});
server.listen({ fd: 3 }); // the first of LISTEN_FDS

function drain() {
  if (draining) return;
  draining = true;
  // Not the close of http.Server, which closes idle connections too.
  net.Server.prototype.close.call(server, () => process.exit(0));
  setTimeout(() => server.closeAllConnections(), 8000); // shorter than drain_timeout
}
process.on('SIGTERM', drain);
process.on('SIGINT', drain);
