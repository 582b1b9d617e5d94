// Uploads above 6 MiB go on after a cut, in a later call and after a reload of the page.
import assert from 'node:assert/strict'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { subscribe } from 'node:diagnostics_channel'
import { createServer, request } from 'node:http'
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
const recording = (size) => new File([content.subarray(0, size)], 'talk.ogg', { type: 'audio/ogg', lastModified: 1 })
const twoPieces = () => recording(7 * MIB)

/** Requests for resumable uploads of this process. */
const requests = []
subscribe('undici:request:create', ({ request: { method, path } }) => {
  if (path.startsWith(ENDPOINT)) requests.push({ method, path })
})
const methods = () => requests.map(({ method }) => method)

/** Return a proxy that answers some requests itself: those for which the function returns a status and a body. */
async function startAnsweringProxy(answerTo) {
  const server = createServer((incoming, response) => {
    const { method, url, headers } = incoming
    const own = answerTo(incoming)
    if (own) return incoming.resume().on('end', () => response.writeHead(own.status).end(own.body))
    const forwarded = request(process.env.SUPABASE_URL + url, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers)
      answer.pipe(response)
    })
    incoming.pipe(forwarded)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const close = () => {
    server.closeAllConnections()
    server.close()
  }
  return { url: `http://127.0.0.1:${server.address().port}`, close }
}

/** Run a test with a signed-in client behind a proxy. */
async function withProxy(run, start = startProxy) {
  const proxy = await start()
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

/** Assert that the bytes of a recording are stored, and end its smelt. */
async function assertStored(supabase, job, size = 7 * MIB) {
  const stored = await dataOf(supabase.storage.from('smelt-audio').download(job.files[0].upload_path))
  assert.equal(sha256(Buffer.from(await stored.arrayBuffer())), sha256(content.subarray(0, size)))
  await job.cancel()
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
    const job = await smelt.create({ files: [recording(SIZE)], onUpload: (progress) => loaded.push(progress.loaded) })
    assert.deepEqual(methods().filter((method) => method !== 'PATCH'), ['POST', 'HEAD'])
    assert.ok(loaded.some((bytes) => bytes > 0 && bytes < SIZE), loaded.join())
    assert.equal(loaded.at(-1), SIZE)
    await assertStored(supabase, job, SIZE)
  }))

test('a later call with the same key goes on with an upload that was aborted', () =>
  withProxy(async (smelt, _, supabase) => {
    const request = { files: [twoPieces()], idempotencyKey: randomUUID() }
    await interrupt(smelt, request)
    const job = await smelt.create({ ...request, files: [twoPieces()] })
    assert.deepEqual(methods(), ['POST', 'PATCH', 'HEAD', 'PATCH'])
    await assertStored(supabase, job)
  }))

test('an upload that the server has lost starts again', () =>
  withProxy(async (smelt, _, supabase) => {
    const request = { files: [twoPieces()], idempotencyKey: randomUUID() }
    await interrupt(smelt, request)
    await removeUpload(supabase)
    requests.length = 0
    const job = await smelt.create({ ...request, files: [twoPieces()] })
    assert.deepEqual(methods(), ['HEAD', 'POST', 'PATCH', 'PATCH'])
    await assertStored(supabase, job)
  }))

test('upload is sent at once where the server has no resumable uploads', () =>
  withProxy(
    async (smelt, _, supabase) => {
      const job = await smelt.create({ files: [twoPieces()] })
      assert.deepEqual(methods(), ['POST'])
      await assertStored(supabase, job)
    },
    () => startAnsweringProxy(({ url }) => (url.startsWith(ENDPOINT) ? { status: 404, body: '{}' } : null)),
  ))

/** Return a list that gets each answered request of a page for resumable uploads, with its offset. */
function requestsOf(page) {
  const seen = []
  page.on('response', (response) => {
    const sent = response.request()
    const method = sent.method()
    if (!sent.url().includes(ENDPOINT) || method === 'OPTIONS') return
    const headers = method === 'HEAD' ? response.headers() : sent.headers()
    seen.push({ method, offset: Number(headers['upload-offset'] ?? 0) })
  })
  return seen
}

test('upload goes on after another request for it has stopped a piece', () => {
  // A request of an earlier call may arrive late.
  const stopped = [{ status: 400, body: 'Request aborted due to lock acquired' }]
  return withProxy(
    async (smelt, _, supabase) => {
      const job = await smelt.create({ files: [twoPieces()] })
      assert.deepEqual(methods(), ['POST', 'PATCH', 'HEAD', 'PATCH', 'PATCH'])
      await assertStored(supabase, job)
    },
    () => startAnsweringProxy(({ method }) => (method === 'PATCH' ? stopped.pop() : null)),
  )
})

test('upload goes on after the page was reloaded', { skip }, async () => {
  const server = await serveBundle(await bundle('page/resumable-upload.js'))
  const browser = await launch()
  try {
    const page = await browser.newPage()
    const network = await page.context().newCDPSession(page)
    await network.send('Network.emulateNetworkConditions', {
      offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 16 * MIB,
    })
    const seen = requestsOf(page)
    await page.goto(server.url)
    await page.waitForFunction(() => window.outcome, null, { timeout: 60_000 })
    const { offset: arrived } = seen.find(({ method }) => method === 'HEAD') ?? {}
    assert.ok(arrived >= 6 * MIB, `${arrived}`)
    const expected = [['POST', 0], ['PATCH', 0], ['HEAD', arrived]]
    for (let offset = arrived; offset < SIZE; offset += 6 * MIB) expected.push(['PATCH', offset])
    assert.deepEqual(seen.map(({ method, offset }) => [method, offset]), expected)
    const { error, first, sent, stored } = await page.evaluate(() => window.outcome)
    assert.equal(error, undefined)
    assert.equal(first, arrived)
    assert.equal(stored, sent)
  } finally {
    await browser.close()
    server.close()
  }
})
