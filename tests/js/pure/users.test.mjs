// After another user has signed in, nothing of the former one is shown, and what this user may read is.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectSmelt, SmeltError } from '../../../smelt/web/index.js'
import '../../../smelt/web/batch.js' // Loaded before the first use, so that no step waits for it.
import '../../../smelt/web/feed.js'
import '../../../smelt/web/notifications.js'
import { Project, until } from './project.mjs'

const SMELT = '00000000-0000-0000-0000-00000000000a'

/** Return a snapshot of a smelt with one segment in its transcript. */
const snapshot = (change = {}) => ({
  ...{ id: SMELT, seq: 3, run: 1, attempt: 1, status: 'transcribing', segments_seq: 1, next_poll_s: 30 },
  progress: { percentage: 30, stage: 'transcribing', message: 'Transcribing audio...' },
  files: [{ id: 'f', filename: 'secret.ogg', position: 0, status: 'processing', progress: 10, trust: null }],
  segments: [{ file_id: 'f', index: 0, start: 0, end: 1, text: 'Good morning.' }],
  ...{ completed_at: null, worker_online: true, queue_position: null, eta_seconds: null, ...change },
})
const COMPLETED = snapshot({ status: 'completed', seq: 9, completed_at: '2026-01-01', results: [], outcome: 'complete' })

/** Return a project whose smelt the users in `readers` may read, and its client. */
function setUp(readers = ['a'], state = snapshot()) {
  const project = new Project()
  let answered = Promise.resolve()
  const calls = []
  project.call = async (name, args) => {
    const { user } = project
    calls.push(name)
    await answered
    const mayRead = readers.includes(user)
    if (name === 'get_smelts') return { smelts: mayRead ? structuredClone([state]) : [] }
    if (mayRead) return structuredClone(state)
    throw new SmeltError('not_found', 'The smelt does not exist.', { status: 404 })
  }
  const hold = () => {
    let release
    answered = new Promise((resolve) => (release = resolve))
    return release
  }
  return { project, calls, hold, smelt: connectSmelt({ transport: project }), show: (next) => (state = next) }
}

const shown = (job) => {
  const { files, segments, progress, results, error } = job.getSnapshot()
  return [files.length, Object.keys(segments).length, progress?.percentage ?? null, results, error?.code ?? null]
}
const NOTHING = [0, 0, null, null, null]

test('a watched smelt of the former user is hidden at once, and its watch ends with not_found', async (t) => {
  const { project, smelt } = setUp()
  const job = smelt.job(SMELT)
  t.after(job.subscribe(() => {}))
  const updates = job.watch()
  await until(() => shown(job)[1], 'the transcript')
  await updates.next()
  project.signIn('b')
  assert.deepEqual(shown(job), NOTHING)
  project.broadcast('segments', { smelt_id: SMELT, run: 1, seq: 4, file_id: 'f', segments: [] })
  assert.deepEqual(shown(job), NOTHING)
  await assert.rejects(async () => {
    for await (const _ of updates);
  }, { code: 'not_found' })
  assert.deepEqual(shown(job), [0, 0, null, null, 'not_found'])
  project.signIn('a')
  await until(() => shown(job)[1], 'the transcript after the first user has signed in again')
})

test('a smelt that both users may read is shown again, and its watch gets no segment twice', async (t) => {
  const { project, smelt, show } = setUp(['visitor', 'a'])
  project.user = 'visitor'
  const job = smelt.job(SMELT)
  t.after(job.subscribe(() => {}))
  const segments = []
  const watching = (async () => {
    for await (const update of job.watch()) if (update.type === 'segments') segments.push(...update.segments)
  })()
  await until(() => segments.length, 'the transcript')
  project.signIn('a')
  assert.deepEqual(shown(job), NOTHING)
  await until(() => shown(job)[1], 'the transcript for the user')
  show(COMPLETED)
  await job.requestUpdate()
  await watching
  assert.equal(segments.length, 1)
})

test('a response to the former user is not shown', async (t) => {
  const { project, smelt, calls, hold } = setUp()
  const job = smelt.job(SMELT)
  const release = hold()
  t.after(job.subscribe(() => {}))
  await until(() => calls.length, 'the read')
  project.signIn('b')
  const views = []
  t.after(job.subscribe(() => views.push(shown(job)[1])))
  release()
  await until(() => job.getSnapshot().error, 'the read of the other user')
  assert.deepEqual(new Set(views), new Set([0]))
})

test('an ended smelt of the former user is hidden, and read again', async (t) => {
  const { project, smelt } = setUp(['a'], COMPLETED)
  const job = smelt.job(SMELT)
  t.after(job.subscribe(() => {}))
  await job.done
  assert.equal(shown(job)[1], 1)
  project.signIn('b')
  assert.deepEqual(shown(job), NOTHING)
  await until(() => job.getSnapshot().error?.code === 'not_found', 'the read')
})

test('done is asked again after an error, and is the same promise after the end', async () => {
  const { project, smelt } = setUp(['a'], COMPLETED)
  project.user = 'b'
  const job = smelt.job(SMELT)
  await assert.rejects(job.done, { code: 'not_found' })
  project.user = 'a' // Without an event.
  const { done } = job
  assert.equal((await done).type, 'completed')
  assert.equal(job.done, done)
})

test('changes by an id in upper case are shown at once', async (t) => {
  const { smelt, show } = setUp()
  const job = smelt.job(SMELT)
  t.after(job.subscribe(() => {}))
  await until(() => shown(job)[1], 'the transcript')
  show(COMPLETED)
  await smelt.cancel(SMELT.toUpperCase())
  assert.equal(job.getSnapshot().status, 'completed')
  await smelt.delete(SMELT.toUpperCase())
  assert.deepEqual(shown(job), [0, 0, null, null, 'not_found'])
})

const ROWS = { smelts: [{ id: SMELT, status: 'pending', seq: 1, created_at: '1' }], smelt_files: [] }
const NOTICE = { id: 'n', user_id: 'a', read_at: null, created_at: '1' }

const TOPICS = 'smelt-feed:b,smelt-notifications:b'
const topics = ({ project }) => [...project.channels].map(({ topic }) => topic).sort().join()

/** Observe the feed and the notifications of user a, until they are loaded. */
async function observeRows(t, { project, smelt }) {
  project.tables = { ...ROWS, smelt_notifications: [NOTICE] }
  const stores = [smelt.feed, smelt.notifications]
  for (const store of stores) t.after(store.subscribe(() => {}))
  const isLoaded = () => stores.every((store) => store.getSnapshot().isLoaded)
  await until(isLoaded, 'the rows')
  const rows = () => [smelt.feed.getSnapshot().smelts.length, smelt.notifications.getSnapshot().notifications.length]
  assert.deepEqual(rows(), [1, 1])
  return { rows, isLoaded }
}

test('feed and notifications show nothing of the former user, and then the rows of the other', async (t) => {
  const given = setUp()
  const { rows, isLoaded } = await observeRows(t, given)
  given.project.tables = {}
  given.project.signIn('b')
  assert.deepEqual([rows(), isLoaded()], [[0, 0], false])
  await until(isLoaded, 'the rows of the other user')
  assert.deepEqual(rows(), [0, 0])
  await until(() => topics(given) === TOPICS, 'the channels of the other user')
})

test('feed and notifications notice another user at the next read, without an event', async (t) => {
  const given = setUp()
  const { rows } = await observeRows(t, given)
  given.project.user = 'b'
  given.project.tables = {}
  given.project.rejoin()
  await until(() => rows().join() === '0,0', 'the rows of the other user')
  await until(() => topics(given) === TOPICS, 'the channels of the other user')
})

test('feed is read on request without an observer, and before its channel is open', async (t) => {
  const { project, smelt } = setUp()
  project.tables = ROWS
  const feed = await smelt.feed.inner()
  feed.requestUpdate()
  await until(() => feed.view.smelts.length === 1, 'the rows without an observer')
  assert.equal(project.channels.size, 0)
  t.after(smelt.feed.subscribe(() => {}))
  await smelt.feed.requestUpdate()
  await until(() => topics({ project }) === 'smelt-feed:a', 'the channel')
  assert.equal(smelt.feed.getSnapshot().smelts.length, 1)
})
