// Modules that are loaded when they are first used, in Chromium: one that could not be loaded is loaded again.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { launch, skip } from '../chromium.mjs'

const ROOT = new URL('../../../', import.meta.url)
const PAGE = '<!doctype html><meta charset="utf-8"><title>modules</title>'
let server
let browser

before(async () => {
  if (skip) return
  server = createServer(async ({ url }, response) => {
    if (url === '/') return response.setHeader('content-type', 'text/html').end(PAGE)
    const content = await readFile(new URL(`.${url}`, ROOT)).catch(() => null)
    response.writeHead(content ? 200 : 404, { 'content-type': 'text/javascript' }).end(content)
  })
  await new Promise((onListening) => server.listen(0, '127.0.0.1', onListening))
  browser = await launch()
})
after(async () => {
  await browser?.close()
  server?.close()
})

const origin = () => `http://127.0.0.1:${server.address().port}`

/** Return a page with a client, whose first `count` requests for a module fail. */
async function openPage(module, count) {
  const page = await browser.newPage()
  let requests = 0
  await page.route(`**/smelt/web/${module}*`, (route) => ((requests += 1) > count ? route.continue() : route.abort()))
  await page.goto(`${origin()}/`)
  await page.evaluate(async () => {
    const { connectSmelt } = await import('/smelt/web/index.js')
    const { Project } = await import('/tests/js/pure/project.mjs')
    globalThis.project = new Project()
    globalThis.smelt = connectSmelt({ transport: globalThis.project })
  })
  return page
}

test('a module that could not be loaded is loaded again by the next call, after an error that asks for it', { skip }, async () => {
  const page = await openPage('notifications.js', 1)
  const list = () =>
    page.evaluate(() =>
      smelt.notifications.list().then(
        (listed) => listed.length,
        ({ code, message, transient }) => ({ code, message, transient }),
      ),
    )
  assert.deepEqual(await list(), {
    code: 'connection_lost',
    message: 'A module of smelt-js could not be loaded: try again, or reload the page.',
    transient: true,
  })
  assert.equal(await list(), 0)
})

test('an observed state loads its module again after a failure', { skip }, async () => {
  const page = await openPage('feed.js', 2)
  await page.evaluate(() => smelt.feed.subscribe(() => {}))
  await page.waitForFunction(() => smelt.feed.getSnapshot().connection.error?.code === 'connection_lost')
  await page.waitForFunction(() => smelt.feed.getSnapshot().isLoaded)
  assert.equal(await page.evaluate(() => smelt.feed.getSnapshot().connection.status), 'live')
})
