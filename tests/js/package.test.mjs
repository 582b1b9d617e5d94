// The package smelt-js with supabase-js, against a project with a worker.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'
import { connect, dataOf, recording, signUp, until } from './app.mjs'
import { connectSmelt, SmeltError, SmeltFailed, subscribeToSmelt, subscribeWithRetry } from '../../smelt/web/index.js'

const content = await readFile(recording)
const file = (name = 'decision.ogg') => new File([content], name, { type: 'audio/ogg' })
const TEXT = 'We decided to publish the report on Friday. Emma will write it.'

/** Run a test with a client and its package, and close the socket of the client. */
async function withSmelt(run, { signedIn = false } = {}) {
  const supabase = connect()
  try {
    const user = signedIn ? await signUp(supabase) : null
    await run(connectSmelt({ supabase }), supabase, user)
  } finally {
    await supabase.removeAllChannels()
  }
}

async function collected(updates) {
  const all = []
  for await (const update of updates) all.push(update)
  return all
}

/** Assert one end as the last update, segments without gaps, and no percentage that decreases. */
function assertWatched(updates, fileId) {
  assert.deepEqual(
    updates.map(({ type }) => type).filter((type) => type === 'completed' || type === 'failed'),
    [updates.at(-1).type],
  )
  const percentages = updates.filter(({ type }) => type === 'progress').map(({ progress }) => progress.percentage)
  assert.deepEqual(
    percentages,
    percentages.toSorted((a, b) => a - b),
  )
  const indexes = updates
    .filter((update) => update.file_id === fileId)
    .flatMap(({ segments }) => segments.map(({ index }) => index))
  assert.ok(indexes.length > 0)
  assert.deepEqual(
    indexes,
    indexes.map((_, n) => n),
  )
}

describe('smelt-js', { concurrency: true }, () => {
  test('create uploads with progress, watch ends once, done has the results', () =>
    withSmelt(async (smelt, supabase) => {
      const uploads = []
      const job = await smelt.create({
        files: [file()],
        prompts: ['summarize'],
        onUpload: (progress) => uploads.push(progress),
      })
      assert.equal(job.subscription_channel, `smelt:${job.id}`)
      const { loaded, totalLoaded, total, filename } = uploads.at(-1)
      assert.deepEqual(
        [loaded, totalLoaded, total, filename],
        [content.length, content.length, content.length, 'decision.ogg'],
      )
      const shown = []
      const end = job.subscribe(() => shown.push(job.getSnapshot()))
      const [first, second] = await Promise.all([
        collected(job.watch()),
        collected(job.watch({ connectionEvents: true })),
      ])
      assertWatched(first, job.files[0].id)
      assert.equal(second.at(-1).type, 'completed')
      assert.ok(second.some(({ type, status }) => type === 'connection' && status === 'live'))
      const done = await job.done
      assert.deepEqual(done, first.at(-1))
      assert.ok(done.results[0].content.length > 0)
      assert.ok(shown.length > 2)
      const view = job.getSnapshot()
      assert.equal(view, job.getSnapshot())
      assert.deepEqual([view.status, view.progress.percentage, view.error], ['completed', 100, null])
      assert.deepEqual(
        view.files.map((one) => [one.filename, one.progress]),
        [['decision.ogg', 100]],
      )
      assert.ok(view.segments[job.files[0].id].length > 0)
      end()
      await until(() => supabase.getChannels().length === 0, 'the channel to be removed')
      // An observer that comes later gets the whole state.
      const again = await collected(smelt.job(job.id).watch())
      assertWatched(again, job.files[0].id)
    }))

  test('create of two recordings and a batch reports them to their owner', () =>
    withSmelt(
      async (smelt) => {
        const batch = await smelt.createBatch('Two')
        const job = await smelt.create({
          files: [file('a.ogg'), { blob: new Blob([content], { type: 'audio/ogg' }), filename: 'b.ogg' }],
          mode: 'combine',
          batchId: batch.id,
        })
        const states = await collected(batch.watch())
        assert.deepEqual([states.at(-1).status, states.at(-1).completed, states.at(-1).total], ['completed', 1, 1])
        assert.deepEqual(
          states.map(({ seq }) => seq),
          states.map(({ seq }) => seq).toSorted((a, b) => a - b),
        )
        assert.equal((await batch.get()).title, 'Two')
        const [listed] = await smelt.list({ batchId: batch.id })
        assert.deepEqual([listed.id, listed.status, listed.files.length], [job.id, 'completed', 2])
        assert.deepEqual(await smelt.list({ status: 'failed' }), [])
        const done = await job.done
        assert.deepEqual([done.results.length, done.results[0].file_id], [1, job.id])
      },
      { signedIn: true },
    ))

  test('batch is updated after its end when a smelt is added', () =>
    withSmelt(
      async (smelt) => {
        const batch = await smelt.createBatch('Two')
        const end = batch.subscribe(() => {})
        const ended = (total) => {
          const { status, completed } = batch.getSnapshot().batch ?? {}
          return status === 'completed' && completed === total
        }
        await smelt.create({ text: TEXT, batchId: batch.id })
        await until(() => ended(1), 'the end of the batch')
        const job = await smelt.create({ text: TEXT, batchId: batch.id })
        const states = await collected(batch.watch())
        assert.deepEqual([states.at(-1).status, states.at(-1).completed, states.at(-1).total], ['completed', 2, 2])
        assert.ok(ended(2))
        assert.equal((await job.done).type, 'completed')
        end()
      },
      { signedIn: true },
    ))

  test('nothing of a user is shown after the sign-out, and done is read again after a sign-in', () =>
    withSmelt(async (smelt, supabase) => {
      const account = { email: `${crypto.randomUUID()}@example.com`, password: crypto.randomUUID() }
      await dataOf(supabase.auth.signUp(account))
      const ended = await smelt.create({ text: TEXT })
      await ended.done
      const { id } = await dataOf(supabase.rpc('create_smelt', { files: [{ filename: 'a.ogg', size_bytes: 5 }] }))
      const running = smelt.job(id)
      const ends = [ended, running, smelt.feed].map((store) => store.subscribe(() => {}))
      await until(() => smelt.feed.getSnapshot().smelts.length === 2, 'the feed')
      await until(() => running.getSnapshot().progress && ended.getSnapshot().results, 'the smelts')
      const watching = running.watch()
      await watching.next()
      await supabase.auth.signOut()
      assert.deepEqual([smelt.feed.getSnapshot().smelts, smelt.feed.getSnapshot().isLoaded], [[], false])
      for (const job of [ended, running]) {
        const { progress, results, files, segments } = job.getSnapshot()
        assert.deepEqual([progress, results, files, segments], [null, null, [], {}])
        await until(() => job.getSnapshot().error, 'the error')
        assert.equal(job.getSnapshot().error.code, 'not_found')
      }
      await assert.rejects(collected(watching), { code: 'not_found' })
      await until(() => smelt.feed.getSnapshot().error, 'the error of the feed')
      assert.equal(smelt.feed.getSnapshot().error.code, 'unauthorized')
      await dataOf(supabase.auth.signInWithPassword(account))
      assert.equal((await ended.done).type, 'completed')
      await until(() => smelt.feed.getSnapshot().smelts.length === 2, 'the feed after the sign-in')
      ends.forEach((end) => end())
    }))

  test('feed shows the smelts of the user with the keys of stale cache entries', () =>
    withSmelt(
      async (smelt) => {
        const keys = new Set()
        const end = smelt.feed.observe({ next: (change) => change.keys.forEach((key) => keys.add(key.join())) })
        const job = await smelt.create({ text: TEXT })
        await until(() => smelt.feed.getSnapshot().counts.completed === 1, 'the feed')
        const { smelts, files, isLoaded, error } = smelt.feed.getSnapshot()
        assert.deepEqual(
          [smelts.map(({ id }) => id), files.map(({ smelt_id }) => smelt_id), isLoaded, error],
          [[job.id], [job.id], true, null],
        )
        assert.deepEqual(
          [...keys].sort(),
          ['smelt', 'smelt-counts', 'smelts'].map((family) => (family === 'smelt' ? `smelt,${job.id}` : family)).sort(),
        )
        await until(() => smelt.connection.getSnapshot().isConnected, 'the channel')
        await smelt.delete(job.id)
        await until(() => smelt.feed.getSnapshot().smelts.length === 0, 'the deletion')
        end()
      },
      { signedIn: true },
    ))

  test('notifications are listed, counted, seen and read', () =>
    withSmelt(
      async (smelt, supabase) => {
        const stop = new AbortController()
        const arriving = smelt.notifications.watch({ signal: stop.signal })
        const next = arriving.next()
        const job = await smelt.create({ text: TEXT })
        const { value } = await next
        assert.equal(value.smelt_id, job.id)
        assert.equal(await smelt.notifications.unreadCount(), 1)
        assert.equal(await smelt.notifications.seen([value.id]), 1)
        assert.equal(await smelt.notifications.seen([value.id]), 0)
        assert.equal(smelt.notifications.getSnapshot().unreadCount, 1)
        assert.equal(await smelt.notifications.read([value.id]), 1)
        assert.equal(smelt.notifications.getSnapshot().unreadCount, 0)
        const [listed] = await smelt.notifications.list()
        assert.ok(listed.seen_at && listed.read_at)
        assert.deepEqual(await smelt.notifications.list({ unread: true }), [])
        const waiting = arriving.next()
        stop.abort()
        await assert.rejects(waiting, { name: 'AbortError' })
        // Another user on the same client sees nothing of the first.
        await signUp(supabase)
        const ends = [smelt.notifications.subscribe(() => {}), smelt.feed.subscribe(() => {})]
        await until(() => smelt.feed.getSnapshot().isLoaded && smelt.notifications.getSnapshot().isLoaded, 'the lists')
        await until(
          () => smelt.notifications.getSnapshot().notifications.length === 0,
          'notifications of the other user',
        )
        assert.deepEqual([smelt.feed.getSnapshot().smelts, smelt.notifications.getSnapshot().unreadCount], [[], 0])
        ends.forEach((end) => end())
      },
      { signedIn: true },
    ))

  test('feed and notifications are read again after a token or a response that never comes', () =>
    withSmelt(
      async (smelt, owner) => {
        const job = await smelt.create({ text: TEXT })
        await job.done
        const { session } = await dataOf(owner.auth.getSession())
        const lost = new Set()
        const never = () => new Promise(() => {})
        const client = (name, accessToken) =>
          createClient(process.env.SUPABASE_URL, process.env.SUPABASE_ANON_KEY, {
            accessToken,
            realtime: { transport: WebSocket },
            global: {
              fetch: (url, options) => {
                if (lost.has(name) || !String(url).includes(name)) return fetch(url, options)
                lost.add(name)
                return never()
              },
            },
          })
        let isHanging = true
        const withoutToken = client('no request', async () => (isHanging ? never() : session.access_token))
        const withoutResponse = client('smelt_notifications', async () => session.access_token)
        const { feed } = connectSmelt({ supabase: withoutToken })
        const { notifications } = connectSmelt({ supabase: withoutResponse })
        const ends = [feed.subscribe(() => {}), notifications.subscribe(() => {})]
        await until(() => feed.getSnapshot().connection.error, 'the timeout of the token')
        isHanging = false
        await until(() => feed.getSnapshot().smelts.length === 1, 'the feed')
        await until(() => notifications.getSnapshot().unreadCount === 1, 'the notifications')
        assert.deepEqual([...lost], ['smelt_notifications'])
        ends.forEach((end) => end())
        await Promise.all([withoutToken.removeAllChannels(), withoutResponse.removeAllChannels()])
      },
      { signedIn: true },
    ))

  test('errors of create, upload and submit are thrown with code and sentence', () =>
    withSmelt(async (smelt, supabase) => {
      const error = await smelt.create({ files: [file('a.exe')] }).catch((error) => error)
      assert.ok(error instanceof SmeltError)
      assert.deepEqual([error.code, error.transient], ['invalid_format', false])
      assert.match(error.message, /a\.exe/)
      // A file that is larger than announced, as often as there are places for a visitor: a failed one is cancelled.
      for (let n = 0; n < 4; n += 1) {
        let size = content.length - 1
        const grown = file()
        Object.defineProperty(grown, 'size', {
          get: () => {
            const announced = size
            size = content.length
            return announced
          },
        })
        const announced = await smelt.create({ files: [grown] }).catch((error) => error)
        assert.ok(announced instanceof SmeltError, String(announced))
        assert.equal(announced.code, 'upload_failed')
      }
      const upload = await supabase.storage.from('smelt-audio').upload('nowhere/a.ogg', content)
      const thrown = await smelt.transport.upload('nowhere/a.ogg', file(), {}).catch((error) => error)
      assert.deepEqual([thrown.code, thrown.message], ['upload_failed', upload.error.message])
    }))

  test('abort during the upload throws its reason and cancels the smelt', () =>
    withSmelt(
      async (smelt) => {
        const stop = new AbortController()
        const creating = smelt.create({ files: [file()], signal: stop.signal, onUpload: () => stop.abort() })
        await assert.rejects(creating, { name: 'AbortError' })
        await assert.rejects(smelt.create({ text: TEXT, signal: stop.signal }), { name: 'AbortError' })
        const [listed] = await smelt.list()
        assert.deepEqual([listed.status, listed.error_code], ['failed', 'cancelled'])
      },
      { signedIn: true },
    ))

  test('abort while a response is under way throws its reason and cancels the smelt', () =>
    withSmelt(
      async (smelt, owner) => {
        const { session } = await dataOf(owner.auth.getSession())
        const stages = { '/rpc/create_smelt': false, '/object/smelt-audio/': true, '/rpc/submit_smelt': true }
        for (const [stage, isLost] of Object.entries(stages)) {
          const stop = new AbortController()
          const supabase = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_ANON_KEY, {
            accessToken: async () => session.access_token,
            realtime: { transport: WebSocket },
            global: {
              fetch: async (url, options) => {
                const response = await fetch(url, options)
                if (!String(url).includes(stage)) return response
                stop.abort()
                return isLost ? new Promise(() => {}) : response
              },
            },
          })
          const creating = connectSmelt({ supabase }).create({ files: [file()], signal: stop.signal })
          await assert.rejects(creating, { name: 'AbortError' }, stage)
        }
        const listed = await smelt.list()
        assert.deepEqual(
          listed.map(({ error_code }) => error_code),
          Object.keys(stages).map(() => 'cancelled'),
        )
      },
      { signedIn: true },
    ))

  test('fifty watches that are opened and ended leave no channel and no socket', () =>
    withSmelt(
      async (_, owner) => {
        const { session } = await dataOf(owner.auth.getSession())
        const sockets = new Set()
        let mostSockets = 0
        class Counted extends WebSocket {
          constructor(...args) {
            super(...args)
            sockets.add(this)
            mostSockets = Math.max(mostSockets, sockets.size)
            this.once('close', () => sockets.delete(this))
          }
        }
        const supabase = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_ANON_KEY, {
          accessToken: async () => session.access_token,
          // As long as a round may take.
          realtime: { transport: Counted, disconnectOnEmptyChannelsAfterMs: 2_000 },
        })
        const smelt = connectSmelt({ supabase })
        const ids = await Promise.all(
          Array.from({ length: 10 }, async () => {
            const files = [{ filename: 'a.ogg', size_bytes: 5 }]
            return (await dataOf(supabase.rpc('create_smelt', { files }))).id
          }),
        )
        for (let round = 0; round < 5; round += 1) {
          const watches = ids.map(async (id, n) => {
            const stop = new AbortController()
            for await (const { type, status } of smelt.job(id).watch({ signal: stop.signal, connectionEvents: true })) {
              if (type !== 'connection' || status !== 'live') continue
              if (n % 2) break
              stop.abort()
            }
          })
          const ends = await Promise.allSettled(watches)
          assert.deepEqual(
            ends.map(({ reason }) => reason?.name),
            ids.map((_, n) => (n % 2 ? undefined : 'AbortError')),
          )
        }
        await until(() => supabase.getChannels().length === 0, 'the channels to be removed')
        const { watches, channels } = smelt.diagnostics()
        assert.deepEqual([watches, channels, mostSockets], [[], 0, 1])
        await until(() => sockets.size === 0, 'the socket to be closed')
      },
      { signedIn: true },
    ))

  test('create with the same idempotency key goes on with an interrupted upload', () =>
    withSmelt(
      async (smelt) => {
        const stop = new AbortController()
        const request = { files: [file('a.ogg'), file('b.ogg')], mode: 'combine', idempotencyKey: crypto.randomUUID() }
        await assert.rejects(smelt.create({ ...request, signal: stop.signal, onUpload: () => stop.abort() }), {
          name: 'AbortError',
        })
        const [{ id, status }] = await smelt.list()
        assert.equal(status, 'pending')
        const job = await smelt.create(request)
        assert.equal(job.id, id)
        await job.done
        assert.equal((await smelt.create(request)).id, id)
      },
      { signedIn: true },
    ))

  test("channel of the app's own with the same name is reported, and polled instead", () =>
    withSmelt(
      async (smelt, supabase) => {
        const { id } = await dataOf(supabase.rpc('create_smelt', { files: [{ filename: 'a.ogg', size_bytes: 5 }] }))
        supabase.channel(`smelt:${id}`).subscribe()
        const error = await new Promise((onError) => subscribeToSmelt(supabase, id, { onError }))
        assert.match(error.message, /of its own/)
        const done = smelt.job(id).done
        await smelt.cancel(id)
        await assert.rejects(done, { code: 'cancelled' })
      },
      { signedIn: true },
    ))

  test('failure rejects done with code and message, and ends a subscription once', () =>
    withSmelt(
      async (smelt, supabase) => {
        const { id } = await dataOf(supabase.rpc('create_smelt', { files: [{ filename: 'a.ogg', size_bytes: 5 }] }))
        const calls = []
        const callbacks = Object.fromEntries(
          ['onProgress', 'onSegments', 'onCompleted', 'onFailed', 'onError', 'onConnected', 'onDisconnected'].map(
            (name) => [name, () => calls.push(name)],
          ),
        )
        const subscription = subscribeToSmelt(supabase, id, callbacks)
        const ended = subscribeToSmelt(supabase, id, {
          ...callbacks,
          onConnected: () => ended.unsubscribe(),
          onFailed: () => calls.push('after the end'),
        })
        await until(() => calls.includes('onConnected'), 'the subscription')
        await subscription.requestUpdate()
        await smelt.cancel(id)
        const error = await smelt.job(id).done.catch((error) => error)
        assert.ok(error instanceof SmeltFailed)
        assert.deepEqual([error.code, error.message], ['cancelled', 'The smelt was cancelled.'])
        await until(() => calls.includes('onFailed'), 'the end')
        assert.deepEqual(
          calls.filter((name) => name !== 'onProgress'),
          ['onConnected', 'onFailed'],
        )
        assert.deepEqual(smelt.job(id).getSnapshot().error, { code: 'cancelled', message: 'The smelt was cancelled.' })
      },
      { signedIn: true },
    ))

  test('smelt of another user is not_found, not a failure', () =>
    withSmelt(
      async (smelt) => {
        await withSmelt(async (stranger, supabase) => {
          const { id } = await smelt.create({ text: TEXT })
          // An invalid id does not end the other watches.
          const job = smelt.job(id.toUpperCase())
          await Promise.all([job.done, assert.rejects(smelt.job('nonsense').done, { code: 'not_found' })])
          await assert.rejects(stranger.get(id), { name: 'SmeltError', code: 'not_found' })
          await assert.rejects(stranger.job(id).done, { name: 'SmeltError', code: 'not_found' })
          const error = await new Promise((onError) => subscribeToSmelt(supabase, id, { onError }))
          assert.equal(error.code, 'not_found')
          const view = stranger.job(id).getSnapshot()
          assert.deepEqual([view.status, view.error.code, view.connection.status], ['pending', 'not_found', 'closed'])
        })
      },
      { signedIn: true },
    ))

  test('feed and notifications without a user fail with unauthorized', () =>
    withSmelt(async (smelt) => {
      await assert.rejects(smelt.feed.watch().next(), { code: 'unauthorized' })
      await assert.rejects(smelt.notifications.watch().next(), { code: 'unauthorized' })
      assert.equal(smelt.feed.getSnapshot().error.code, 'unauthorized')
    }))

  test('token function of supabase-js is used for calls and channels', () =>
    withSmelt(
      async (smelt, owner) => {
        const { session } = await dataOf(owner.auth.getSession())
        const supabase = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_ANON_KEY, {
          accessToken: async () => session.access_token,
          realtime: { transport: WebSocket },
        })
        const job = await connectSmelt({ supabase }).create({ text: TEXT })
        const updates = await collected(job.watch({ connectionEvents: true }))
        assert.ok(updates.some(({ type, status }) => type === 'connection' && status === 'live'))
        assert.equal(updates.at(-1).type, 'completed')
        assert.deepEqual(
          (await smelt.list()).map(({ id }) => id),
          [job.id],
        )
        await supabase.removeAllChannels()
      },
      { signedIn: true },
    ))

  test('observer that leaves and comes back at once shares one channel; the last one removes it', () =>
    withSmelt(
      async (smelt, supabase) => {
        const { id } = await dataOf(supabase.rpc('create_smelt', { files: [{ filename: 'a.ogg', size_bytes: 5 }] }))
        const job = smelt.job(id)
        job.subscribe(() => {})()
        const end = job.subscribe(() => {})
        const other = smelt.job(id).subscribe(() => {})
        await until(() => job.getSnapshot().connection.status === 'live', 'the channel')
        const late = await new Promise((onConnected) => {
          const subscription = subscribeToSmelt(supabase, id, { onConnected: () => onConnected(subscription) })
        })
        late.unsubscribe()
        assert.equal(supabase.getChannels().length, 1)
        const [channel] = supabase.getChannels()
        for await (const update of job.watch()) if (update.type === 'progress') break
        end()
        job.subscribe(() => {})()
        other()
        const again = job.subscribe(() => {})
        await job.requestUpdate()
        assert.deepEqual(supabase.getChannels(), [channel])
        again()
        await until(() => supabase.getChannels().length === 0, 'the channel to be removed')
        const back = job.subscribe(() => {})
        await until(() => job.getSnapshot().connection.status === 'live', 'the channel after it was removed')
        back()
      },
      { signedIn: true },
    ))

  test('retry of a failed smelt is followed by its observers', () =>
    withSmelt(
      async (smelt) => {
        const job = await smelt.create({ files: [file()] })
        const statuses = []
        const end = job.subscribe(() => statuses.push(job.getSnapshot().status))
        await smelt.cancel(job.id)
        await assert.rejects(job.done, SmeltFailed)
        await smelt.retry(job.id)
        const done = await job.done
        assert.equal(done.run, 2)
        assert.ok(statuses.includes('failed'))
        assert.deepEqual(
          [job.getSnapshot().status, job.getSnapshot().run, job.getSnapshot().error],
          ['completed', 2, null],
        )
        end()
      },
      { signedIn: true },
    ))

  test('connection that never comes is polled, and ends a subscription after maxRetries only', async () => {
    const supabase = createClient('http://127.0.0.1:9', 'key', {
      realtime: { transport: WebSocket },
      auth: { persistSession: false, autoRefreshToken: false },
    })
    const id = crypto.randomUUID()
    const errors = []
    const subscription = subscribeToSmelt(supabase, id, { onError: (error) => errors.push(error) })
    const error = await new Promise((onError) => subscribeWithRetry(supabase, id, { onError }, 2))
    assert.deepEqual([error.code, error.transient], ['connection_lost', true])
    assert.ok(errors.length > 2)
    const view = connectSmelt({ supabase }).job(id).getSnapshot()
    assert.deepEqual([view.status, view.error, view.connection.status], ['pending', null, 'polling'])
    subscription.unsubscribe()
    const count = errors.length
    await until(() => supabase.getChannels().length === 0, 'the channel to be removed')
    assert.equal(errors.length, count)
    await supabase.realtime.disconnect()
  })
})
