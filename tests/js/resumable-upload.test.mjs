// Uploads above 6 MiB go on after a cut, in a later call and after a reload of the page.
import assert from 'node:assert/strict'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { subscribe } from 'node:diagnostics_channel'
import { readFile } from 'node:fs/promises'
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
const recording = () => new File([content], 'talk.ogg', { type: 'audio/ogg', lastModified: 1 })

/** Requests for resumable uploads of this process. */
const requests = []
subscribe('undici:request:create', ({ request: { method, path } }) => {
  if (path.startsWith(ENDPOINT)) requests.push(method)
})
const count = (method) => requests.filter((one) => one === method).length

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

test('upload of 20 MiB goes on after a cut', () =>
  withProxy(async (smelt, proxy, supabase) => {
    const loaded = []
    proxy.cutAfter(9 * MIB)
    const job = await smelt.create({ files: [recording()], onUpload: (progress) => loaded.push(progress.loaded) })
    assert.equal(count('POST'), 1)
    assert.equal(count('HEAD'), 1)
    assert.ok(loaded.some((bytes) => bytes > 0 && bytes < SIZE), loaded.join())
    assert.equal(loaded.at(-1), SIZE)
    await assertStored(supabase, job.files[0].upload_path)
  }))

test('a later call with the same key goes on with an upload that was aborted', () =>
  withProxy(async (smelt, _, supabase) => {
    const request = { files: [recording()], idempotencyKey: randomUUID() }
    const stop = new AbortController()
    const onUpload = ({ loaded }) => loaded >= 6 * MIB && stop.abort()
    await assert.rejects(smelt.create({ ...request, onUpload, signal: stop.signal }), { name: 'AbortError' })
    assert.equal(count('PATCH'), 1)
    const job = await smelt.create({ ...request, files: [recording()] })
    assert.deepEqual([count('POST'), count('HEAD'), count('PATCH')], [1, 1, 4])
    await assertStored(supabase, job.files[0].upload_path)
  }))

test('an upload that the server has lost starts anew', () =>
  withProxy(async (smelt, _, supabase) => {
    const request = { files: [recording()], idempotencyKey: randomUUID() }
    const stop = new AbortController()
    const onUpload = ({ loaded }) => loaded >= 6 * MIB && stop.abort()
    await assert.rejects(smelt.create({ ...request, onUpload, signal: stop.signal }), { name: 'AbortError' })
    const other = { ...request, files: [new File([content], 'talk.ogg', { type: 'audio/ogg', lastModified: 2 })] }
    const job = await smelt.create(other)
    assert.deepEqual([count('POST'), count('HEAD'), count('PATCH')], [2, 0, 5])
    await assertStored(supabase, job.files[0].upload_path)
  }))
