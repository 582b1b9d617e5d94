// A feed merges reads with the changes that arrive meanwhile.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectSmelt } from '../../../smelt/web/index.js'
import { Project, settle, until } from './project.mjs'

const SMELT = { id: 's', seq: 4, status: 'pending', created_at: '2026-01-01' }
const FILE = { id: 'f', smelt_id: 's', status: 'pending', position: 0, progress: 0, created_at: '2026-01-01' }
const stateOf = ({ smelts: [smelt], files: [file] }) => [smelt?.seq, file?.progress]

/** Observe a feed, then read `rows` while the changes of `live` arrive; return the feed and its project. */
async function after(t, { rows, live }) {
  const project = new Project()
  project.tables = { smelts: [SMELT], smelt_files: [FILE] }
  const { feed } = connectSmelt({ transport: project })
  t.after(feed.subscribe(() => {}))
  await until(() => feed.getSnapshot().isLoaded && project.channels.size, 'the rows')
  project.tables = rows
  const { account } = project
  project.account = async () => ({
    ...(await account.call(project)),
    rows: async (table) => {
      for (const { onChange } of project.channels) for (const [of, row] of live) onChange({ table: of, new: row })
      return structuredClone(project.tables[table])
    },
  })
  await feed.requestUpdate()
  await settle()
  project.account = account
  return { feed, project }
}

/** Return the state after a read during which changes arrive. */
const stateAfter = async (t, given) => stateOf((await after(t, given)).feed.getSnapshot())

test('a read wins over older changes that arrive meanwhile', async (t) => {
  const rows = { smelts: [{ ...SMELT, seq: 7 }], smelt_files: [{ ...FILE, progress: 100 }] }
  const live = [
    ['smelts', { ...SMELT, seq: 5 }],
    ['smelt_files', { ...FILE, progress: 50 }],
  ]
  assert.deepEqual(await stateAfter(t, { rows, live }), [7, 100])
})

test('newer changes that arrive meanwhile win over a read', async (t) => {
  const rows = { smelts: [{ ...SMELT, seq: 5 }], smelt_files: [{ ...FILE, progress: 20 }] }
  const live = [
    ['smelts', { ...SMELT, seq: 7 }],
    ['smelt_files', { ...FILE, progress: 50 }],
  ]
  assert.deepEqual(await stateAfter(t, { rows, live }), [7, 50])
})

test('a change of a file that a read may have undone is read once more, soon', async (t) => {
  const rows = { smelts: [{ ...SMELT, seq: 5 }], smelt_files: [{ ...FILE, progress: 20 }] }
  const live = [['smelt_files', { ...FILE, progress: 50 }]]
  const { feed, project } = await after(t, { rows, live })
  assert.deepEqual(stateOf(feed.getSnapshot()), [5, 20])
  project.tables.smelt_files = [{ ...FILE, progress: 50 }]
  await until(() => stateOf(feed.getSnapshot())[1] === 50, 'the next read')
  assert.equal((await feed.inner()).liveReadMs, 300_000)
})
