// The page of `scripts/examples/elements` in Chromium.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { startProxy } from '../proxy.mjs'

const { resolve } = createRequire(import.meta.url)
const EXAMPLE = new URL('../../../scripts/examples/elements/', import.meta.url)
const PACKAGE = new URL('../../../smelt/web/', import.meta.url)
const SUPABASE = resolve('@supabase/supabase-js/dist/umd/supabase.js')
const TYPES = { html: 'text/html', css: 'text/css', js: 'text/javascript' }
const AXE = await readFile(resolve('axe-core/axe.min.js'), 'utf8')
export const TIMEOUT_MS = 30_000
/** Errors of a page whose connection was cut; 409 and 423 are for bytes of the cut request that still arrive. */
const CUT = /ERR_|WebSocket|fetch|409|423/

/** Serve the page with the settings of a project, as the example's `start` does. */
export async function serve(url) {
  const settings = `export const url = '${url}', key = '${process.env.SUPABASE_ANON_KEY}'`
  const server = createServer(async (request, response) => {
    const path = request.url === '/' ? 'index.html' : request.url.slice(1)
    const file = /^smelt\/(elements\/)?[\w-]+\.js$/.test(path)
      ? new URL(path.slice('smelt/'.length), PACKAGE)
      : path === 'supabase-js.js'
        ? SUPABASE
        : ['index.html', 'style.css', 'supabase.js'].includes(path) && new URL(path, EXAMPLE)
    if (path === 'favicon.ico') return response.writeHead(204).end()
    const content = path === 'settings.js' ? settings : file && (await readFile(file))
    response.writeHead(content ? 200 : 404, { 'content-type': TYPES[path.split('.').at(-1)] ?? 'text/plain' })
    response.end(content || '')
  })
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
  return server
}

/**
 * Run a test with the page and a signed-in user, or a visitor; its errors fail the test, except those that match
 * `expects`.
 */
export async function withPage(
  browser,
  run,
  { url = process.env.SUPABASE_URL, signedIn = true, expects, ...options } = {},
) {
  const server = await serve(url)
  const context = await browser.newContext(options)
  try {
    const page = await context.newPage()
    page.setDefaultTimeout(TIMEOUT_MS)
    const errors = []
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && errors.push(message.text()))
    page.on('pageerror', (error) => errors.push(String(error)))
    page.joined = []
    page.on('websocket', (socket) =>
      socket.on('framesent', ({ payload }) => {
        const [, , topic, event] = JSON.parse(payload)
        if (event === 'phx_join') page.joined.push(topic.replace('realtime:', ''))
      }),
    )
    await page.goto(`http://localhost:${server.address().port}/`)
    const loaded = page.waitForFunction(() => document.querySelector('smelt-progress').client)
    await loaded.catch((cause) => {
      throw new Error(errors.join(), { cause })
    })
    await page.evaluate(signedIn ? signUp : signOut)
    await run(page)
    assert.deepEqual(
      errors.filter((error) => !expects?.test(error)),
      [],
    )
  } finally {
    await context.close()
    server.close()
  }
}

/** Run a test with the page behind a proxy. */
export async function withProxy(browser, run, options) {
  const proxy = await startProxy()
  try {
    await withPage(browser, (page) => run(page, proxy), { url: proxy.url, expects: CUT, ...options })
  } finally {
    proxy.close()
  }
}

/** Sign up in a page. */
export async function signUp() {
  const { supabase } = await import('/supabase.js')
  const account = { email: `${crypto.randomUUID()}@example.com`, password: crypto.randomUUID() }
  const { error } = await supabase.auth.signUp(account)
  if (error) throw error
}

/** End the session of the page. */
async function signOut() {
  const { supabase } = await import('/supabase.js')
  await supabase.auth.signOut({ scope: 'local' })
}

/** Limit the upload to these bytes per second, so that it can be observed; -1 lifts the limit. */
export async function limitUpload(page, bytesPerS) {
  page.network ??= await page.context().newCDPSession(page) // The limit of another session would remain.
  const conditions = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: bytesPerS }
  await page.network.send('Network.emulateNetworkConditions', conditions)
}

/** Return an audio file of this size for an input; it is not decoded before a worker claims it. */
export const audio = (name, size = 1000) => ({ name, mimeType: 'audio/ogg', buffer: Buffer.alloc(size, 1) })

/** Choose files; return the id of the smelt once it is submitted. */
export async function submit(page, ...files) {
  const before = await page.evaluate(() => location.hash)
  await page.setInputFiles('smelt-upload input', files)
  await page.waitForFunction((before) => location.hash !== before, before)
  return page.evaluate(() => location.hash.slice(1))
}

/** Wait until an element matches a selector, and none of its ancestors is hidden. */
export const shown = (page, selector) => page.waitForSelector(selector)

export const text = (page, selector) => page.locator(selector).first().textContent()

/** Assert that axe-core finds no serious or critical violation. */
export async function assertAccessible(page, state) {
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(AXE)
  const violations = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ['violations'] })
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join()}`)
  })
  assert.deepEqual(violations, [], state)
}
