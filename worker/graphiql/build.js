// Makes dist, which package graphiql embeds, by `make graphiql`. The same sources
// give the same files, and the same Node compresses them to the same bytes.

import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

process.chdir(import.meta.dirname)
const sources = ['build.js', 'package-lock.json', 'package.json', 'page.css', 'page.html', 'page.jsx']
const licences = ['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT']

const hash = (data) => createHash('sha256').update(data).digest('hex')

// What would break the page's Content-Security-Policy.
const strict = {
  name: 'strict',
  setup({ onResolve, onLoad }) {
    // Puts a <style> into the page while a dialog or menu is open, to keep what is
    // behind it from scrolling. This page does not scroll.
    onResolve({ filter: /^react-style-singleton$/ }, () => ({ path: 'none', namespace: 'strict' }))
    onLoad({ filter: /.*/, namespace: 'strict' }, () => ({ contents: 'export const styleSingleton = () => () => null' }))
    // Three quarters of the style sheet are fonts in data: URLs.
    onLoad({ filter: /\/graphiql\/dist\/style\.css$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replace(/@font-face\s*\{[^}]*\}/g, ''),
      loader: 'css',
    }))
  },
}

const { metafile, outputFiles } = await build({
  entryPoints: ['page.jsx'],
  outdir: '.',
  bundle: true,
  write: false,
  metafile: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"' },
  legalComments: 'none', // LICENSES has them
  plugins: [strict],
})

rmSync('dist', { recursive: true, force: true })
mkdirSync('dist')
let page = readFileSync('page.html', 'utf8')
const files = outputFiles.map(({ path, contents }) => ({ name: path.split('/').at(-1), contents }))
for (const { name, contents } of [...files, { name: 'LICENSES', contents: notices() }]) {
  const [stem, type = 'txt'] = name.split('.')
  const hashed = `${stem}-${hash(contents).slice(0, 16)}.${type}`
  if (!page.includes(`assets/${name}"`)) {
    throw new Error(`page.html does not mention assets/${name}`)
  }
  page = page.replace(`assets/${name}"`, `assets/${hashed}"`)
  writeFileSync(join('dist', `${hashed}.gz`), gzipSync(contents, { level: 9 }))
}
writeFileSync('dist/page.html', page)
writeFileSync('dist/sources.sha256', sources.map((name) => `${hash(readFileSync(name))}  ${name}\n`).join(''))

// notices are the licences of all packages of which something is in the output.
function notices() {
  const mit = readFileSync('node_modules/graphiql/LICENSE', 'utf8').replace(/^Copyright.*\n/m, '')
  const outputs = Object.values(metafile.outputs).flatMap(({ inputs }) => Object.entries(inputs))
  const folders = outputs
    .filter(([path, { bytesInOutput }]) => bytesInOutput > 0 && path.includes('node_modules/'))
    .map(([path]) => /.*node_modules\/(@[^/]+\/)?[^/]+/.exec(path)[0])
  const texts = [...new Set(folders)].sort().map((folder) => {
    const { name, version, license, repository } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    const file = readdirSync(folder).find((entry) => /^(licen[cs]e|copying)/i.test(entry))
    if (!licences.includes(license) || (!file && license !== 'MIT')) {
      throw new Error(`${name} has the licence ${license}, in the file ${file}: may it be passed on like this?`)
    }
    const text = file
      ? readFileSync(join(folder, file), 'utf8')
      : `Copyright (c) the authors of ${repository?.url ?? repository}\n\n${mit}`
    return `${name} ${version}\n\n${text.trim()}\n`
  })
  return `GraphiQL and what it is made of, as it is bundled with neko.\n\n${texts.join(`\n${'-'.repeat(72)}\n\n`)}`
}
