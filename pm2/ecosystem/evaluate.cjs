'use strict'
// Evaluates a process file, and writes what it exports to descriptor 3, as JSON.
//
// Arguments: the file, and the words that process.argv has while it is evaluated.
const fs = require('node:fs')
const { pathToFileURL } = require('node:url')

const [file, words] = process.argv.slice(-2)
process.argv = [process.execPath, ...JSON.parse(words)]

function answer(result) {
  fs.writeFileSync('/proc/self/fd/3', JSON.stringify(result))
}

// plain is a value as it would reach PM2's daemon: functions, symbols and what is
// undefined do not, NaN is null, a date is its ISO text. A regular expression, which
// PM2 loses, is kept for whoever understands it.
function plain(value, within) {
  if (typeof value === 'bigint') return String(value)
  if (typeof value === 'function' || typeof value === 'symbol') return undefined
  if (value === null || typeof value !== 'object') return value
  if (value instanceof RegExp) return { 'neko:regexp': value.source, flags: value.flags }
  if (within.includes(value)) return '[Circular]'
  if (typeof value.toJSON === 'function') return plain(value.toJSON(), within)
  within = [...within, value]
  if (Array.isArray(value)) return value.map((item) => plain(item, within) ?? null)
  const copy = {}
  for (const key of Object.keys(value)) {
    Object.defineProperty(copy, key, { value: plain(value[key], within), enumerable: true, configurable: true, writable: true })
  }
  return copy
}

// exported is what a module means by its exports: the default one, if it does not have
// apps itself.
async function exported(module) {
  let value = module
  for (let i = 0; i < 3 && value && typeof value === 'object' && 'default' in value; i++) {
    if (i > 0 && !value.__esModule) break
    if (i === 0 && !('module.exports' in value) && 'apps' in value) break
    value = value.default
  }
  value = await value
  if (typeof value === 'function') value = await value()
  return value
}

import(pathToFileURL(file))
  .then(exported)
  .then((value) => answer({ value: plain(value, []) ?? null, is: typeof value }))
  .catch((error) => {
    const first = error?.errors?.[0] ?? error // Bun has several for a file that it cannot parse
    answer({ error: String(first?.message ?? first), name: String(first?.name ?? ''), code: String(error?.code ?? ''),
      stack: String(first?.stack ?? ''), line: first?.position?.line, column: first?.position?.column })
  })
  .then(() => process.exit(0))
