// The package over a gateway, without supabase-js, against a project without a worker: the test acts as one.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { describe, test } from 'node:test'
import { claim } from '../elements/worker.mjs'
import { startProxy } from '../proxy.mjs'
import { newEmail, signUp } from './users.mjs'
import { connectSmelt, SmeltFailed } from '../../../smelt/web/index.js'
import { smeltQueryInvalidator } from '../../../smelt/web/query.js'

const { SMELT_GATEWAY, SMELT_SIGNING_KEYS } = process.env
const audio = (name, size = 1000) => new File([new Uint8Array(size).fill(1)], name, { type: 'audio/ogg' })

async function signedIn(gateway = SMELT_GATEWAY) {
  const user = await signUp(newEmail())
  return { user, smelt: connectSmelt({ gateway, token: async () => user.token }) }
}

/** Return a new read-only token of a smelt. */
async function readTokenOf(id, user) {
  const headers = { authorization: `Bearer ${user.token}` }
  const response = await fetch(`${SMELT_GATEWAY}/api/smelts/${id}/token`, { method: 'POST', headers })
  return (await response.json()).token
}

/** Return a read-only token that expires at a time in seconds, signed as by the gateway. */
function signedToken(id, expiresAt) {
  const payload = `${id.replaceAll('-', '')}.${Math.floor(expiresAt)}`
  return `${payload}.${createHmac('sha256', SMELT_SIGNING_KEYS).update(`read\0${payload}`).digest('base64url')}`
}

/** Collect updates in the background; `until` waits for one that satisfies a condition. */
function collect(updates) {
  const all = []
  let wake = () => {}
  const done = (async () => {
    for await (const update of updates) {
      all.push(update)
      wake()
    }
  })()
  done.catch(() => {})
  const until = async (condition) => {
    while (!condition(all)) await new Promise((resolve) => (wake = resolve))
  }
  const lines = () => all.flatMap(({ segments = [] }) => segments.map(({ text }) => text))
  return { all, done, until, lines }
}

/** Wait until the state of a store satisfies a condition. */
const shown = (store, condition) =>
  new Promise((resolve) => {
    const check = () => {
      if (!condition(store.getSnapshot())) return
      queueMicrotask(() => end())
      resolve()
    }
    const end = store.subscribe(check)
    check()
  })

const lineTexts = (from, to) => Array.from({ length: to - from }, (_, n) => `line ${from + n}`)

describe('connectSmelt with a gateway', { concurrency: true, timeout: 90_000 }, () => {
  test('create uploads and submits, watch yields each line once and one end', async () => {
    const { smelt } = await signedIn()
    const uploads = []
    const job = await smelt.create({
      files: [audio('first.ogg'), audio('large.ogg', 7 * 1024 * 1024)], // Above 6 MiB, in pieces.
      prompts: ['summarize'],
      metadata: { origin: 'test' },
      onUpload: ({ totalLoaded, total }) => uploads.push(totalLoaded / total),
    })
    assert.equal(uploads.at(-1), 1)
    const watched = collect(job.watch({ connectionEvents: true }))
    await watched.until((all) => all.some(({ type, status }) => type === 'connection' && status === 'live'))
    const worker = await claim(job.id)
    await worker.report('transcribing', 40, { texts: { 0: lineTexts(0, 5) } })
    await watched.until(() => watched.lines().length === 5)
    await worker.report('transcribing', 60, { texts: { 0: lineTexts(5, 9) } })
    await worker.complete({ 0: 'The *notes*' })
    await watched.done
    assert.deepEqual(watched.lines(), lineTexts(0, 9))
    assert.deepEqual(
      watched.all.filter(({ type }) => type === 'completed' || type === 'failed').map(({ type }) => type),
      ['completed'],
    )
    assert.equal((await job.done).results[0].content, 'The *notes*')
    const { status, files } = job.getSnapshot()
    assert.deepEqual([status, files[0].filename], ['completed', 'first.ogg'])
    assert.equal((await job.get({ withWords: true })).metadata.origin, 'test')
    await job.delete()
    await assert.rejects(job.get(), { code: 'not_found', status: 404, transient: false })
  })

  test('cuts of the connection lose no line, double none, and are shown', async () => {
    const proxy = await startProxy(SMELT_GATEWAY)
    try {
      const { smelt } = await signedIn(proxy.url)
      const job = await smelt.create({ files: [audio('cut.ogg')] })
      const watched = collect(job.watch({ connectionEvents: true }))
      const isLast = (status) => (all) => all.findLast(({ type }) => type === 'connection')?.status === status
      const worker = await claim(job.id)
      for (let n = 0; n < 4; n += 1) {
        await watched.until(isLast('live'))
        await worker.report('transcribing', 30 + n, { texts: { 0: lineTexts(n * 20, n * 20 + 10) } })
        if (n % 2) await watched.until(() => watched.lines().length >= n * 20 + 10)
        proxy.cut()
        await watched.until(isLast('polling'))
        await worker.report('transcribing', 30 + n, { texts: { 0: lineTexts(n * 20 + 10, n * 20 + 20) } })
        proxy.restore()
      }
      await watched.until(isLast('live'))
      proxy.cut()
      await worker.complete({ 0: 'Notes' })
      await watched.until(isLast('polling'))
      proxy.restore()
      await watched.done
      assert.deepEqual(watched.lines(), lineTexts(0, 80))
      assert.equal(watched.all.filter(({ type }) => type === 'completed').length, 1)
    } finally {
      proxy.close()
    }
  })

  test('a failure, and a retry that another client starts, are followed', async () => {
    const { smelt, user } = await signedIn()
    const job = await smelt.create({ files: [audio('failing.ogg')] })
    const isExpected = (error) => error instanceof SmeltFailed && error.code === 'transcription_failed'
    const failed = assert.rejects(job.done, isExpected)
    await (await claim(job.id)).fail('transcription_failed')
    await failed
    await connectSmelt({ gateway: `${SMELT_GATEWAY}/`, token: user.token }).retry(job.id)
    await job.requestUpdate()
    const watched = collect(job.watch())
    await watched.until((all) => all.some(({ run }) => run === 2))
    await (await claim(job.id)).complete({ 0: 'Better' })
    assert.equal((await job.done).results[0].content, 'Better')
  })

  test('several watches of one client end with their smelts', async () => {
    const { smelt } = await signedIn()
    const jobs = []
    for (let n = 0; n < 3; n += 1) jobs.push(await smelt.create({ text: `note ${n}`, prompts: ['summarize'] }))
    const watched = jobs.map((job) => collect(job.watch({ connectionEvents: true })))
    for (const one of watched) await one.until((all) => all.some(({ status }) => status === 'live'))
    for (const job of jobs) await job.cancel()
    for (const one of watched) await one.done
    assert.deepEqual(
      watched.map(({ all }) => all.at(-1).error_code),
      ['cancelled', 'cancelled', 'cancelled'],
    )
  })

  test('lists, batches and notifications are those of the user', async () => {
    const { smelt } = await signedIn()
    const batch = await smelt.createBatch('Monday')
    const first = await smelt.create({ files: [audio('a.ogg')], batchId: batch.id })
    const second = await smelt.create({ files: [audio('b.ogg')], batchId: batch.id })
    const states = collect(batch.watch())
    const arrived = collect(smelt.notifications.watch())
    await (await claim(first.id)).complete({ 0: 'Notes' })
    await (await claim(second.id)).fail('corrupted_file')
    await states.done
    assert.deepEqual([states.all.at(-1).completed, states.all.at(-1).failed], [1, 1])
    await arrived.until((all) => all.length === 2)
    const ids = arrived.all.map(({ id }) => id)
    assert.deepEqual(new Set(arrived.all.map(({ smelt_id }) => smelt_id)), new Set([first.id, second.id]))
    assert.equal(await smelt.notifications.unreadCount(), 2)
    assert.equal(await smelt.notifications.seen(ids), 2)
    assert.equal(await smelt.notifications.read(ids.slice(1)), 1)
    assert.deepEqual(
      (await smelt.notifications.list({ unread: true })).map(({ id }) => id),
      ids.slice(0, 1),
    )
    const listed = await smelt.list()
    assert.deepEqual(
      listed.map(({ id, status, files }) => [id, status, files[0].filename]),
      [
        [second.id, 'failed', 'b.ogg'],
        [first.id, 'completed', 'a.ogg'],
      ],
    )
    const ofStatus = await smelt.list({ status: ['completed', 'pending'], before: listed[0].created_at, limit: 1 })
    assert.deepEqual(
      ofStatus.map(({ id }) => id),
      [first.id],
    )
    const ofBatch = await smelt.list({ batchId: batch.id, limit: 1 })
    assert.deepEqual([ofBatch[0].id, ofBatch[0].batch_id, ofBatch.length], [second.id, batch.id, 1])
    assert.deepEqual(await smelt.list({ batchId: crypto.randomUUID() }), [])
  })

  test('feed follows all rows of the user, over a cut, with deletions and cache keys', async () => {
    const proxy = await startProxy(SMELT_GATEWAY)
    try {
      const { user, smelt } = await signedIn(proxy.url)
      const direct = connectSmelt({ gateway: SMELT_GATEWAY, token: user.token })
      const existing = await direct.create({ text: 'a note', metadata: { n: 0 } })
      const feed = collect(smelt.feed.watch())
      const { getSnapshot } = smelt.feed
      const isLive = ({ connection }) => connection.status === 'live'
      await shown(smelt.feed, (view) => isLive(view) && view.isLoaded)
      const later = await direct.create({ files: [audio('later.ogg')] })
      await shown(smelt.feed, ({ smelts, files }) => smelts.length === 2 && files.length === 2)
      assert.deepEqual(
        [getSnapshot().smelts.map(({ id }) => id), getSnapshot().smelts[1].metadata],
        [[later.id, existing.id], { n: 0 }],
      )
      const worker = await claim(later.id)
      await worker.report('transcribing', 40, { files: [{ position: 0, status: 'processing', progress: 50 }] })
      await feed.until((all) => all.some(({ type, row }) => type === 'file' && row.progress === 50))
      proxy.cut()
      await shown(smelt.feed, (view) => !isLive(view))
      await worker.complete({ 0: 'Notes' })
      proxy.restore()
      const isEnd = ({ type, row, before }) => type === 'smelt' && row.status === 'completed' && before.status !== 'completed'
      await feed.until((all) => all.some(isEnd))
      assert.equal(getSnapshot().counts.completed, 1)
      const ends = feed.all.filter(isEnd)
      assert.deepEqual(
        ends.map(({ keys }) => keys),
        [[['smelt', later.id], ['smelts'], ['smelt-counts']]],
      )
      await shown(smelt.feed, isLive)
      await direct.delete(existing.id)
      await shown(smelt.feed, ({ smelts }) => smelts.length === 1)
      assert.equal(getSnapshot().files.length, 1)
    } finally {
      proxy.close()
    }
  })

  test('notifications and the invalidator of queries are live over the gateway', async () => {
    const { smelt } = await signedIn()
    const invalidated = []
    let wake = () => {}
    const queryClient = {
      invalidateQueries: async ({ queryKey }) => {
        invalidated.push(queryKey.join())
        wake()
      },
    }
    const end = smeltQueryInvalidator(queryClient)(smelt)
    const isInvalidated = async (key) => {
      while (!invalidated.includes(key)) await new Promise((resolve) => (wake = resolve))
    }
    const job = await smelt.create({ text: 'a note' })
    await isInvalidated(`smelt,${job.id}`)
    await job.cancel()
    await isInvalidated('smelt-counts')
    const arrived = collect(smelt.notifications.watch())
    await arrived.until((all) => all.some(({ smelt_id }) => smelt_id === job.id))
    end()
  })

  test('row level security decides: visitors create nothing, and read nothing of a user', async () => {
    const { smelt } = await signedIn()
    const job = await smelt.create({ text: 'a note', prompts: ['summarize'] })
    const visitor = connectSmelt({ gateway: SMELT_GATEWAY })
    await assert.rejects(visitor.create({ text: 'a note' }), { code: 'unauthorized', status: 401 })
    const { smelt: other } = await signedIn()
    for (const client of [visitor, other]) {
      await assert.rejects(client.get(job.id), { code: 'not_found', status: 404 })
      await assert.rejects(client.job(job.id).done, { code: 'not_found' })
    }
    await assert.rejects(connectSmelt({ gateway: SMELT_GATEWAY, token: 'x.y.z' }).get(job.id), { status: 401 })
    const lost = connectSmelt({ gateway: 'http://127.0.0.1:9' })
    await assert.rejects(lost.get(job.id), { code: 'connection_lost', transient: true })
    await job.cancel()
  })

  test('read-only token watches its smelt, and everything else is not_allowed', async () => {
    const { user, smelt } = await signedIn()
    const [job, other] = [await smelt.create({ files: [audio('shared.ogg')] }), await smelt.create({ text: 'a note' })]
    const visitor = connectSmelt({ gateway: SMELT_GATEWAY, readToken: await readTokenOf(job.id, user) })
    const watched = collect(visitor.job(job.id).watch({ connectionEvents: true }))
    await watched.until((all) => all.some(({ type, status }) => type === 'connection' && status === 'live'))
    const worker = await claim(job.id)
    await worker.report('transcribing', 40, { texts: { 0: lineTexts(0, 5) } })
    await watched.until(() => watched.lines().length === 5)
    assert.equal((await visitor.get(job.id, { withWords: true })).segments.length, 5)
    const smelts = [{ id: job.id }, { id: other.id }]
    const read = await visitor.transport.call('get_smelts', { smelts })
    assert.deepEqual(read.smelts.map(({ id }) => id), [job.id])
    const notAllowed = { code: 'not_allowed', status: 403, transient: false }
    for (const refused of [
      () => visitor.get(other.id),
      () => visitor.job(other.id).done,
      () => visitor.cancel(job.id),
      () => visitor.retry(job.id),
      () => visitor.delete(job.id),
      () => visitor.list(),
      () => visitor.create({ text: 'a note' }),
      () => visitor.create({ files: [audio('mine.ogg')] }),
      () => visitor.createBatch(),
      () => collect(visitor.batch(crypto.randomUUID()).watch()).done,
      () => collect(visitor.feed.watch()).done,
      () => collect(visitor.notifications.watch()).done,
      () => visitor.notifications.unreadCount(),
    ])
      await assert.rejects(refused(), notAllowed)
    await worker.complete({ 0: 'Notes' })
    await watched.done
    assert.deepEqual(watched.lines(), lineTexts(0, 5))
    assert.equal((await visitor.job(job.id).done).results[0].content, 'Notes')
  })

  test('read-only token that has expired ends a watch, unless a function returns a new one', async () => {
    const { user, smelt } = await signedIn()
    const job = await smelt.create({ text: 'a note' })
    const expired = signedToken(job.id, Date.now() / 1000 - 1)
    const error = { code: 'token_expired', status: 401 }
    const visitor = connectSmelt({ gateway: SMELT_GATEWAY, readToken: expired })
    await assert.rejects(visitor.get(job.id), { ...error, transient: false })
    await assert.rejects(visitor.job(job.id).done, error)
    assert.equal(visitor.job(job.id).getSnapshot().error.code, 'token_expired')
    const forged = connectSmelt({ gateway: SMELT_GATEWAY, readToken: `${expired}x` })
    await assert.rejects(forged.job(job.id).done, { code: 'unauthorized', transient: false })

    let readToken = expired
    const renewing = connectSmelt({ gateway: SMELT_GATEWAY, readToken: async () => readToken })
    await assert.rejects(renewing.get(job.id), { ...error, transient: true })
    const watched = collect(renewing.job(job.id).watch({ connectionEvents: true }))
    await watched.until((all) => all.some(({ error }) => error?.code === 'token_expired'))
    readToken = await readTokenOf(job.id, user)
    await watched.until((all) => all.some(({ type, status }) => type === 'connection' && status === 'live'))
    await job.cancel()
    await watched.done
    assert.equal(watched.all.at(-1).error_code, 'cancelled')
  })

  test('read-only token that expires during a watch ends it with token_expired', async () => {
    const { smelt } = await signedIn()
    const job = await smelt.create({ text: 'a note' })
    const visitor = connectSmelt({ gateway: SMELT_GATEWAY, readToken: signedToken(job.id, Date.now() / 1000 + 5) })
    const watched = collect(visitor.job(job.id).watch({ connectionEvents: true }))
    await watched.until((all) => all.some(({ type, status }) => type === 'connection' && status === 'live'))
    await assert.rejects(watched.done, { code: 'token_expired', status: 401 })
    await job.cancel()
  })
})
