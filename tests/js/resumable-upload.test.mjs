// Uploads above 6 MiB go on after a cut, in a later call and after a reload of the page.
import assert from 'node:assert/strict'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { subscribe } from 'node:diagnostics_channel'
import { test } from 'node:test'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'
import { connectSmelt } from '../../smelt/web/index.js'
import { dataOf, signUp } from './app.mjs'
import { bundle, launch, serveBundle, skip } from './chromium.mjs'
import { startProxy } from './proxy.mjs'

const MIB = 1024 * 1024
const SIZE = 20 * MIB
const ENDPOINT = '/storage/v1/upload/resumable'
const content = randomBytes(SIZE)
const recording = (lastModified = 1) => new File([content], 'talk.ogg', { type: 'audio/ogg', lastModified })

/** Requests for resumable uploads of this process. */
const requests = []
subscribe('undici:request:create', ({ request: { method, path } }) => {
  if (path.startsWith(ENDPOINT)) requests.push({ method, path })
})
const methods = () => requests.map(({ method }) => method)

/** Run a test with a signed-in client behind a proxy. */
async function withProxy(run) {
  const proxy = await startProxy()
  const supabase = createClient(proxy.url, process.env.SUPABASE_ANON_KEY, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: WebSocket },
  })
  requests.length = 0
  try {
    await signUp(supabase)
    await run(connectSmelt({ supabase }), proxy, supabase)
  } finally {
    await supabase.removeAllChannels()
    proxy.close()
  }
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

async function assertStored(supabase, path) {
  const stored = await dataOf(supabase.storage.from('smelt-audio').download(path))
  assert.equal(sha256(Buffer.from(await stored.arrayBuffer())), sha256(content))
}

/** Abort an upload after its first piece. */
async function interrupt(smelt, request) {
  const stop = new AbortController()
  const onUpload = ({ loaded }) => loaded >= 6 * MIB && stop.abort()
  await assert.rejects(smelt.create({ ...request, onUpload, signal: stop.signal }), { name: 'AbortError' })
}

/** Delete the upload of the last request. */
async function removeUpload(supabase) {
  const { session } = (await supabase.auth.getSession()).data
  const { status } = await fetch(process.env.SUPABASE_URL + requests.at(-1).path, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${session.access_token}`, 'tus-resumable': '1.0.0' },
  })
  assert.equal(status, 204)
}

test('upload of 20 MiB goes on after a cut', () =>
  withProxy(async (smelt, proxy, supabase) => {
    const loaded = []
    proxy.cutAfter(9 * MIB)
    const job = await smelt.create({ files: [recording()], onUpload: (progress) => loaded.push(progress.loaded) })
    assert.deepEqual(methods().filter((method) => method !== 'PATCH'), ['POST', 'HEAD'])
    assert.ok(loaded.some((bytes) => bytes > 0 && bytes < SIZE), loaded.join())
    assert.equal(loaded.at(-1), SIZE)
    await assertStored(supabase, job.files[0].upload_path)
  }))

test('a later call with the same key goes on with an upload that was aborted', () =>
  withProxy(async (smelt, _, supabase) => {
    const request = { files: [recording()], idempotencyKey: randomUUID() }
    await interrupt(smelt, request)
    const job = await smelt.create({ ...request, files: [recording()] })
    assert.deepEqual(methods(), ['POST', 'PATCH', 'HEAD', 'PATCH', 'PATCH', 'PATCH'])
    await assertStored(supabase, job.files[0].upload_path)
  }))

for (const [change, requestsThen, alter] of [
  ['that the server has lost', ['HEAD', 'POST', 'PATCH', 'PATCH', 'PATCH', 'PATCH'], (supabase) => removeUpload(supabase)],
  ['of a file that was changed since', ['POST', 'PATCH', 'PATCH', 'PATCH', 'PATCH'], () => 2],
]) {
  test(`an upload ${change} starts anew`, () =>
    withProxy(async (smelt, _, supabase) => {
      const request = { files: [recording()], idempotencyKey: randomUUID() }
      await interrupt(smelt, request)
      const lastModified = await alter(supabase)
      requests.length = 0
      const job = await smelt.create({ ...request, files: [recording(lastModified)] })
      assert.deepEqual(methods(), requestsThen)
      await assertStored(supabase, job.files[0].upload_path)
    }))
}

/** Upload a recording until the reload of a page, and return the requests before and after it. */
async function reloadInTheMiddle(page, url) {
  const seen = []
  page.on('response', (response) => {
    const request = response.request()
    if (!request.url().includes(ENDPOINT) || request.method() === 'OPTIONS') return
    const offset = Number(request.method() === 'HEAD' ? response.headers()['upload-offset'] : request.headers()['upload-offset'])
    seen.push({ method: request.method(), offset })
  })
  await page.goto(url)
  await page.waitForFunction((bytes) => window.loaded > bytes, 9 * MIB, { timeout: 30_000 })
  const before = seen.splice(0)
  await page.reload()
  await page.waitForFunction(() => window.outcome, null, { timeout: 60_000 })
  return { before, after: seen }
}

test('upload goes on after the page was reloaded', { skip }, async () => {
  const server = await serveBundle(await bundle('page/resumable-upload.js'))
  const browser = await launch()
  try {
    const page = await browser.newPage()
    const network = await page.context().newCDPSession(page)
    await network.send('Network.emulateNetworkConditions', {
      offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 16 * MIB,
    })
    const { before, after } = await reloadInTheMiddle(page, server.url)
    assert.deepEqual(before.map(({ method }) => method), ['POST', 'PATCH'])
    const [head, ...patches] = after
    assert.equal(head.method, 'HEAD')
    assert.ok(head.offset >= 6 * MIB, `${head.offset}`)
    const expected = []
    for (let offset = head.offset; offset < SIZE; offset += 6 * MIB) expected.push({ method: 'PATCH', offset })
    assert.deepEqual(patches, expected)
    const { error, first, sent, stored } = await page.evaluate(() => window.outcome)
    assert.equal(error, undefined)
    assert.equal(first, head.offset)
    assert.equal(stored, sent)
  } finally {
    await browser.close()
    server.close()
  }
})
