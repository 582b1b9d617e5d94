// The creation of a smelt through faults of the network.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:net'
import { describe, test } from 'node:test'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'
import { connectSmelt } from '../../smelt/web/index.js'
import { dataOf, signUp, until } from './app.mjs'
import { startProxy } from './proxy.mjs'

const CREATE = 'POST /rest/v1/rpc/create_smelt'
const file = (size = 1000) => new File([new Uint8Array(size)], 'talk.ogg', { type: 'audio/ogg', lastModified: 1 })

/** Return a client of a project. */
const connect = (url) =>
  createClient(url, process.env.SUPABASE_ANON_KEY, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: WebSocket },
  })

/** Run a test with a signed-in client behind a proxy, and one beside it. */
async function withProxy(run) {
  const proxy = await startProxy()
  const [supabase, beside] = [proxy.url, process.env.SUPABASE_URL].map(connect)
  try {
    await signUp(supabase)
    await dataOf(beside.auth.setSession((await supabase.auth.getSession()).data.session))
    const smelts = () => dataOf(beside.from('smelts').select('id, error_code'))
    await run(connectSmelt({ supabase }), proxy, smelts)
  } finally {
    proxy.close()
  }
}

describe('creation', { concurrency: true }, () => {
  for (const [name, request, delayMs] of [
    ['without a key', {}, 0],
    ['without a key, if the answer takes longer than the caller waits', {}, 6000],
    ['with a key and cancelOnAbort', { idempotencyKey: randomUUID(), cancelOnAbort: true }, 0],
  ])
    test(`an abort during the announcement cancels the smelt ${name}`, () =>
      withProxy(async (smelt, proxy, smelts) => {
        const stop = new AbortController()
        proxy.holdAt(CREATE)
        const creating = smelt.create({ files: [file()], ...request, signal: stop.signal })
        const rejected = assert.rejects(creating, { name: 'AbortError' })
        await until(async () => (await smelts()).length === 1, 'a smelt')
        stop.abort()
        if (delayMs) await rejected
        proxy.release()
        await rejected
        await until(async () => (await smelts())[0].error_code === 'cancelled', 'the cancellation')
      }))

  test('an abort with a key alone leaves the smelt for a later call', () =>
    withProxy(async (smelt, proxy, smelts) => {
      const request = { files: [file()], idempotencyKey: randomUUID() }
      const stop = new AbortController()
      proxy.holdAt(CREATE)
      const creating = smelt.create({ ...request, signal: stop.signal })
      const rejected = assert.rejects(creating, { name: 'AbortError' })
      await until(async () => (await smelts()).length === 1, 'a smelt')
      stop.abort()
      await rejected
      proxy.release()
      const job = await smelt.create(request)
      assert.deepEqual((await smelts()).map(({ id }) => id), [job.id])
    }))

  for (const name of ['create_smelt', 'get_smelt', 'submit_smelt'])
    test(`a cut at ${name} is followed by another try`, () =>
      withProxy(async (smelt, proxy, smelts) => {
        proxy.cutAt(`POST /rest/v1/rpc/${name}`)
        const job = await smelt.create({ files: [file()], idempotencyKey: randomUUID() })
        assert.deepEqual((await smelts()).map(({ id }) => id), [job.id])
      }))

  for (const name of ['create_smelt', 'get_smelt', 'submit_smelt'])
    test(`${name} without an answer is followed by another try`, () =>
      withProxy(async (smelt, proxy) => {
        proxy.holdAt(`POST /rest/v1/rpc/${name}`)
        await smelt.create({ files: [file()], idempotencyKey: randomUUID(), timeoutMs: 1500 })
      }))

  test('an upload without an answer is followed by another try', () =>
    withProxy(async (smelt, proxy) => {
      proxy.holdAt('POST /storage/v1/object')
      await smelt.create({ files: [file()], timeoutMs: 1500 })
    }))

  test('a project that never answers is an error', async () => {
    const sockets = new Set()
    const server = createServer((socket) => sockets.add(socket))
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      const smelt = connectSmelt({ supabase: connect(`http://127.0.0.1:${server.address().port}`) })
      const creating = smelt.create({ files: [file()], timeoutMs: 100 })
      await assert.rejects(creating, { code: 'connection_lost', transient: true, message: /There was no response/ })
    } finally {
      for (const socket of sockets) socket.destroy()
      server.close()
    }
  })
})
