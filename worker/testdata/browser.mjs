// What a person does with GraphiQL, and sees: browser.mjs PLAYWRIGHT URL REFUSING
// with the folder of playwright-core, a worker, and one that refuses introspection.
// Each step is a line of JSON: its name, and what was seen. SHOTS is a folder for
// pictures.

import { createRequire } from 'node:module'
import { join } from 'node:path'

const [playwright, url, refusing] = process.argv.slice(2)
const { chromium } = createRequire(join(playwright, 'x.js'))('playwright-core')

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  timeout: 20_000,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
})
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' })
context.setDefaultTimeout(10_000)

// Violations of the Content-Security-Policy are errors in the console.
const complaints = []
const origins = {}
context.on('console', (m) => ['error', 'warning'].includes(m.type()) && complaints.push(m.text()))
context.on('weberror', (e) => complaints.push(String(e.error())))
context.on('request', (r) => {
  const { origin } = new URL(r.url())
  origins[origin] = (origins[origin] ?? 0) + 1
})

const page = await context.newPage()
const see = (step, seen) => console.log(JSON.stringify({ step, seen }))
const shot = (name) => process.env.SHOTS && page.screenshot({ path: join(process.env.SHOTS, `${name}.png`) })
const editor = (pane) => page.locator(`${pane} .CodeMirror`)
const text = (pane) => editor(pane).evaluate((e) => e.CodeMirror.getValue())
const query = '.graphiql-query-editor'
const headers = '[aria-label="Headers"] .graphiql-editor:not(.hidden)'

async function open(at) {
  const introspected = page.waitForResponse((r) => r.request().postData()?.includes('__schema'))
  await page.goto(at)
  await editor(query).waitFor()
  await (await introspected).finished()
}

async function type(pane, keys) {
  await editor(pane).click()
  await page.keyboard.press('Control+A')
  await page.keyboard.press('Delete')
  await page.keyboard.type(keys)
}

// run waits for the answer to what the editor holds.
async function run(pane = query) {
  await editor(pane).click()
  const answered = page.waitForResponse((r) => r.request().method() === 'POST')
  await page.keyboard.press('Control+Enter')
  const answer = await (await answered).json()
  await page.waitForFunction(
    (want) => document.querySelector('.result-window .CodeMirror').CodeMirror.getValue() === want,
    JSON.stringify(answer, null, 2),
  )
  return JSON.stringify(answer)
}

await open(url)
see('default query', await text(query))
see('runs', await run())

await type(query, '{ hel')
const hint = page.locator('.CodeMirror-hints li')
await hint.first().waitFor()
await shot('completes')
see('completes', await hint.allTextContents())
await page.keyboard.press('Enter')
see('completed', (await text(query)).replace(/\s/g, ''))
see('completed runs', await run())

await page.click('[aria-label="Show Documentation Explorer"]')
await page.click('.graphiql-doc-explorer a:text-is("Query")')
await page.locator('.graphiql-doc-explorer-title:text-is("Query")').waitFor()
see('docs of a type', await page.innerText('.graphiql-doc-explorer'))
await page.click('.graphiql-doc-explorer a:text-is("wait")')
await page.locator('.graphiql-doc-explorer-title:text-is("wait")').waitFor()
see('docs of a field', await page.innerText('.graphiql-doc-explorer'))

await page.click('button:text-is("Headers")')
await type(headers, '{"Authorization": "Bearer s3cret"}')
await type(query, '{ again: hello }')
const stored = (key) => page.waitForFunction((key) => localStorage.getItem(key)?.includes('again'), key)
await stored('graphiql:tabState') // a moment after it was typed
see('with a header', await run())
await stored('graphiql:queries')
await shot('headers')
see('stored', (await context.storageState()).origins[0].localStorage.map(({ name, value }) => `${name}=${value}`))

await page.click('[aria-label="Open settings dialog"]')
await page.locator('[role=dialog]').waitFor()
await shot('settings')
see('settings', await page.innerText('[role=dialog]'))
await page.keyboard.press('Escape')
await page.locator('[role=dialog]').waitFor({ state: 'detached' })
const background = () => page.evaluate(() => getComputedStyle(document.querySelector('.graphiql-container')).backgroundColor)
const light = await background()
await page.emulateMedia({ colorScheme: 'dark' })
see('light and dark', [light, await background()])
await shot('dark')

await open(url)
see('query after a reload', await text(query))
await page.click('button:text-is("Headers")')
see('headers after a reload', await text(headers))
see('complaints', complaints.splice(0))

await open(refusing)
await page.click('[aria-label="Show Documentation Explorer"]')
await page.locator('.graphiql-doc-explorer pre').waitFor()
await shot('refused')
see('docs without introspection', await page.innerText('.graphiql-doc-explorer'))
see('runs without introspection', await run())
await type(query, '{ hello }')
see('another without introspection', await run())
see('complaints without introspection', complaints.splice(0))

see('origins', origins)
await browser.close()
