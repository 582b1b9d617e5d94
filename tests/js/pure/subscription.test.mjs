// Callbacks of the app: an exception in one does not affect the others, nor the replay of the state.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectSmelt, subscribeToSmelt, subscribeWithRetry, SmeltError } from '../../../smelt/web/index.js'
import { Project, settle, until } from './project.mjs'

const SMELT = '00000000-0000-0000-0000-000000000001'
const NAMES = ['onProgress', 'onSegments', 'onCompleted', 'onFailed', 'onError', 'onConnected', 'onDisconnected']

const common = { smelt_id: SMELT, run: 1, attempt: 1 }
const progress = (seq) => ({
  ...{ ...common, seq, status: 'transcribing', files: [{ id: 'f', status: 'processing', progress: 10 }] },
  progress: { percentage: 30, stage: 'transcribing', message: 'Transcribing audio...' },
  segments: [{ file_id: 'f', index: 0, start: 0, end: 1, text: 'Good morning.' }],
})
const failed = { ...common, seq: 9, error_code: 'cancelled', error_message: 'Cancelled.', completed_at: '2026-01-01' }

/** Return callbacks that throw, the names of those that were called, and what was reported as uncaught. */
function throwing(t) {
  const called = []
  const uncaught = []
  const { queueMicrotask } = globalThis
  t.mock.method(globalThis, 'queueMicrotask', (callback) =>
    queueMicrotask(() => {
      try {
        callback()
      } catch (error) {
        uncaught.push(error.message)
      }
    }),
  )
  const callbacks = Object.fromEntries(
    NAMES.map((name) => [
      name,
      () => {
        called.push(name)
        throw new Error(name)
      },
    ]),
  )
  return { called, uncaught, callbacks }
}

test('an exception in a callback stops neither the replay nor the other callbacks', async (t) => {
  const { called, uncaught, callbacks } = throwing(t)
  const project = new Project()
  project.call = async () => new Promise(() => {})
  const observing = connectSmelt({ transport: project }).job(SMELT).subscribe(() => {})
  await settle()
  project.broadcast('progress', progress(2))
  const subscription = subscribeToSmelt(project, SMELT.toUpperCase(), callbacks)
  await settle()
  assert.deepEqual(called, ['onConnected', 'onProgress', 'onSegments'])
  for (const { onLeft } of project.channels) onLeft(new SmeltError('connection_lost', 'Lost.', { transient: true }))
  await settle()
  assert.deepEqual(called.slice(3), ['onDisconnected', 'onError'])
  project.broadcast('failed', failed)
  subscription.unsubscribe()
  observing()
  await until(() => project.channels.size === 0, 'the channel to be left')
  assert.deepEqual(uncaught, called)
})

test('an exception in onError does not stop the end of a subscription with maxRetries', async (t) => {
  const { called, uncaught, callbacks } = throwing(t)
  const project = new Project()
  project.call = async () => new Promise(() => {})
  connectSmelt({ transport: project })
  subscribeWithRetry(project, SMELT, callbacks, 0)
  await settle()
  for (const { onLeft } of project.channels) onLeft(new SmeltError('connection_lost', 'Lost.', { transient: true }))
  project.broadcast('progress', progress(2))
  await settle()
  assert.deepEqual(called, ['onConnected', 'onDisconnected', 'onError'])
  assert.deepEqual(uncaught, called)
})

test('a permanent error of the channel ends a watch, a transient one does not', async () => {
  const project = new Project()
  project.call = async () => new Promise(() => {})
  const job = connectSmelt({ transport: project }).job(SMELT)
  let end = null
  job.done.catch((error) => (end = error))
  await settle()
  for (const { onLeft } of project.channels) onLeft(new SmeltError('connection_lost', 'Lost.', { transient: true }))
  await settle()
  assert.deepEqual([end, job.getSnapshot().connection.status], [null, 'polling'])
  for (const { onLeft } of project.channels) onLeft(new SmeltError('not_allowed', 'No.', { status: 403 }))
  await settle()
  assert.equal(end.code, 'not_allowed')
  assert.deepEqual([project.channels.size, job.getSnapshot().error.code], [0, 'not_allowed'])
})
