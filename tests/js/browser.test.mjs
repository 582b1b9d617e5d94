// A page in Chromium runs a smelt with supabase-js, from another origin than the stack's.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { recording } from './app.mjs'
import { launch, skip } from './chromium.mjs'

const TIMEOUT_MS = 60_000
const FILES = {
  '/': ['text/html', new URL('page/index.html', import.meta.url)],
  '/package': ['text/html', new URL('page/package.html', import.meta.url)],
  '/package.js': ['text/javascript', new URL('page/package.js', import.meta.url)],
  '/page.js': ['text/javascript', new URL('page/page.js', import.meta.url)],
  '/supabase.js': ['text/javascript', createRequire(import.meta.url).resolve('@supabase/supabase-js/dist/umd/supabase.js')],
  '/recording': ['audio/ogg', recording],
}

/** Return a module of the package smelt-js. */
function packaged(url) {
  const name = /^\/smelt\/([\w-]+\.js)$/.exec(url)?.[1]
  return name && ['text/javascript', new URL(`../../smelt/web/${name}`, import.meta.url)]
}

/** Serve the page on a free port of the loopback interface, without CORS headers. */
async function serve() {
  const server = createServer(async (request, response) => {
    const [type, path] = FILES[request.url] ?? packaged(request.url) ?? ['application/json']
    const settings = {
      url: process.env.SUPABASE_URL,
      key: process.env.SUPABASE_ANON_KEY,
      elsewhere: `http://127.0.0.1:${server.address().port}/settings`,
    }
    response.setHeader('content-type', type).end(path ? await readFile(path) : JSON.stringify(settings))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}

/** Run a test with a page that has an outcome. */
async function withPage(path, run, uploadBytesPerS = -1) {
  const server = await serve()
  const browser = await launch()
  try {
    const page = await browser.newPage()
    const network = await page.context().newCDPSession(page)
    await network.send('Network.emulateNetworkConditions', {
      offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: uploadBytesPerS,
    })
    await page.goto(`http://localhost:${server.address().port}${path}`)
    await page.waitForFunction(
      () => document.getElementById('outcome').textContent !== 'waiting', null, { timeout: TIMEOUT_MS })
    await run(page)
  } finally {
    await browser.close()
    server.close()
  }
}

test('browser page uploads a recording and shows transcript and notes', { skip }, () =>
  withPage('/', async (page) => {
    assert.equal(await page.textContent('#outcome'), 'completed')
    assert.match(await page.textContent('#transcript'), /publish the report on friday/i)
    assert.match(await page.textContent('#notes'), /report/i)
  }))

test('browser page with smelt-js uploads with progress in bytes', { skip }, () =>
  withPage('/package', async (page) => {
    assert.equal(await page.textContent('#outcome'), 'completed')
    assert.match(await page.textContent('#transcript'), /publish the report on friday/i)
    const { uploads, rejected, events } = JSON.parse(await page.textContent('#uploads'))
    assert.equal(rejected, 'invalid_format')
    assert.ok(events.includes('completed'), events.join())
    const loaded = uploads.map(([bytes]) => bytes)
    assert.ok(loaded.some((bytes) => bytes > 0 && bytes < uploads[0][1]), loaded.join())
    assert.deepEqual(loaded, loaded.toSorted((a, b) => a - b))
    assert.equal(loaded.at(-1), uploads[0][1])
  }, 8_000_000))
