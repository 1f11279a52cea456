'use strict';
// What a process counts, told as nekoctl wants it: on the socket that it is offered
// (NEKO_METRICS_SOCKET), and at the end in a file beside it. nekoctl sums it over all
// processes, also those of before the last reload.
const fs = require('node:fs');
const http = require('node:http');

const families = []; // { name, help, type, values: Map of rendered labels to a number }

/** A counter or gauge with add(n, labels) and set(n, labels). Labels are few and known: never what a client chose. */
function metric(type, name, help) {
  const values = new Map();
  families.push({ name, help, type, values });
  const key = (labels = {}) => Object.entries(labels)
    .map(([k, v]) => `${k}="${String(v).replace(/[\\"\n]/g, c => (c === '\n' ? '\\n' : '\\' + c))}"`).join(',');
  return {
    add: (n, labels) => values.set(key(labels), (values.get(key(labels)) ?? 0) + n),
    set: (n, labels) => values.set(key(labels), n),
  };
}

function text() {
  return families.map(({ name, help, type, values }) => [
    `# HELP ${name} ${help}`, `# TYPE ${name} ${type}`,
    ...[...values].map(([labels, v]) => (labels ? `${name}{${labels}} ${v}` : `${name} ${v}`)), '',
  ].join('\n')).join('');
}

const path = process.env.NEKO_METRICS_SOCKET;
delete process.env.NEKO_METRICS_SOCKET; // it is this process's, and not that of programs which it starts
if (path) {
  const server = http.createServer((req, res) => {
    res.setHeader('Content-Type', 'text/plain; version=0.0.4');
    res.end(text());
  });
  // exclusive: in cluster mode it is not to be shared with the other processes.
  server.listen({ path: `${path}.new`, exclusive: true }, () => fs.renameSync(`${path}.new`, path));
  server.unref(); // it keeps nobody from ending
  process.on('exit', () => {
    fs.rmSync(path, { force: true });
    fs.writeFileSync(`${path}.last.new`, text(), { mode: 0o600 });
    fs.renameSync(`${path}.last.new`, `${path}.last`);
  });
}

module.exports = {
  counter: (name, help) => metric('counter', name, help),
  gauge: (name, help) => metric('gauge', name, help),
};
