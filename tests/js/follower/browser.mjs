// Like node.mjs, with a page of Chromium for each client; `hide` and `show` change the visibility of its page.
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const local = (path) => new URL(path, import.meta.url)
const FILES = {
  '/': local('index.html'),
  '/follow.js': local('follow.js'),
  '/supabase.js': createRequire(import.meta.url).resolve('@supabase/supabase-js/dist/umd/supabase.js'),
}

async function serve() {
  const server = createServer(async ({ url }, response) => {
    const name = /^\/smelt\/([\w-]+\.js)$/.exec(url)?.[1]
    const path = FILES[url] ?? (name && local(`../../../smelt/web/${name}`))
    response.setHeader('content-type', url === '/' ? 'text/html' : 'text/javascript').end(path ? await readFile(path) : '')
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://localhost:${server.address().port}/`
}

const print = (line) => console.log(JSON.stringify(line))
const pages = new Map()
const url = await serve()
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
})
const context = await browser.newContext()
await context.exposeFunction('print', print)

async function opened() {
  const page = await context.newPage()
  page.on('pageerror', (error) => print({ name: null, of: 'process', type: 'uncaught', error: `${error}` }))
  await page.goto(url)
  await page.waitForFunction(() => window.run)
  return page
}

const setVisibility = (state) => {
  Object.defineProperty(document, 'visibilityState', { configurable: true, value: state })
  document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))
}

for await (const line of createInterface({ input: process.stdin })) {
  const given = JSON.parse(line)
  if (given.command === 'open') pages.set(given.name, opened())
  pages.get(given.name).then((page) => {
    if (given.command === 'hide') return page.evaluate(setVisibility, 'hidden')
    if (given.command === 'show') return page.evaluate(setVisibility, 'visible')
    // Not waited for: the browser may be closed before.
    return page.evaluate((command) => void window.run(command), given)
  })
}
await browser.close()
process.exit(0)
