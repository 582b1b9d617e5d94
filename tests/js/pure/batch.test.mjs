// Watches of a batch yield the states of the shared cases, which Python's subscriber passes as well, and a batch that is
// observed after its end is updated without polling.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { connectSmelt } from '../../../smelt/web/index.js'
import '../../../smelt/web/batch.js' // Loaded before the first use, so that no step waits for it.
import { Project, settle, until } from './project.mjs'

const BATCH = '00000000-0000-0000-0000-00000000000a'
const cases = (await readFile(new URL('../../contract/batch.jsonl', import.meta.url), 'utf8'))
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))
const state = ([seq, status]) => ({ seq, status, total: 2, completed: 1, failed: 0, progress: 50 })

/** Return a project with a batch, and its client's batch. */
function setUp(row) {
  const project = new Project()
  const show = (next) => (project.tables.smelt_batches = [{ id: BATCH, title: null, ...state(next) }])
  const send = (next) => project.broadcast('progress', { batch_id: BATCH, ...state(next) })
  if (row) show(row)
  return { project, show, send, batch: connectSmelt({ transport: project }).batch(BATCH.toUpperCase()) }
}

for (const { claim, steps, yielded } of cases) {
  test(claim, async () => {
    const { project, show, send, batch } = setUp()
    const stop = new AbortController()
    const watches = []
    const collect = async (watch) => {
      for await (const { seq } of batch.watch({ signal: stop.signal })) watch.seqs.push(seq)
      watch.isEnded = true
    }
    const play = {
      row: show,
      watch: () => {
        watches.push({ seqs: [], isEnded: false })
        collect(watches.at(-1)).catch(() => {})
      },
      join: () => project.rejoin(),
      event: send,
    }
    for (const step of steps) {
      const [[name, value]] = Object.entries(step)
      play[name](value)
      await settle()
    }
    assert.deepEqual(watches.map(({ seqs }) => seqs), yielded)
    const statuses = new Map(steps.flatMap(({ row, event }) => [row, event].filter(Boolean)))
    assert.deepEqual(
      watches.map(({ isEnded }) => isEnded),
      yielded.map((seqs) => ['completed', 'failed'].includes(statuses.get(seqs.at(-1)))),
    )
    stop.abort()
    await until(() => project.channels.size === 0, 'the channel to be left')
  })
}

test('an observed batch is updated after its end, and is not polled until it goes on', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { project, show, send, batch } = setUp([1, 'processing'])
  const end = batch.subscribe(() => {})
  const shown = () => batch.getSnapshot().batch?.seq
  /** Advance the clock by ten minutes. */
  const pass = async () => {
    for (let n = 0; n < 20; n += 1) {
      t.mock.timers.tick(30_000)
      await settle()
    }
  }
  await settle()
  show([2, 'completed'])
  send([2, 'completed'])
  await batch.requestUpdate()
  await settle()
  const { reads } = project
  await pass()
  assert.deepEqual([shown(), project.reads], [2, reads])
  // A smelt is retried: the event is shown, and what follows is read even if its event is lost.
  send([3, 'processing'])
  assert.equal(shown(), 3)
  show([4, 'failed'])
  await pass()
  assert.equal(shown(), 4)
  // What was missed while the channel was lost is read after the next join.
  show([5, 'processing'])
  project.rejoin()
  await settle()
  assert.deepEqual([shown(), batch.getSnapshot().connection.status], [5, 'live'])
  end()
  await pass()
  assert.equal(project.channels.size, 0)
})
