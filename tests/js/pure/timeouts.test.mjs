// No call waits forever for a response, or for a token of the app: supabase-js with a server that never responds, and
// with an app that never returns a token.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, mock, test } from 'node:test'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'
import { connectSmelt } from '../../../smelt/web/index.js'
import { within } from '../../../smelt/web/polling.js'
import '../../../smelt/web/account-supabase.js' // Loaded before the first use, so that no call waits for a module.
import '../../../smelt/web/batch.js'
import '../../../smelt/web/list.js'
import '../../../smelt/web/notifications.js'
import '../../../smelt/web/upload.js'
import { settle } from './project.mjs'

const ID = '00000000-0000-0000-0000-000000000001'
const USER = `e30.${btoa(JSON.stringify({ sub: ID }))}.e30`
const LIMIT_S = 180 // Of a call with its new attempts.
let server

before(async () => {
  await new Promise((onListening) => (server = createServer(() => {}).listen(0, '127.0.0.1', onListening)))
  mock.timers.enable({ apis: ['setTimeout'] })
})
after(() => {
  mock.timers.reset()
  server.closeAllConnections()
  server.close()
})

/** Return supabase-js of an app whose function returns the token. */
const connect = (accessToken) =>
  createClient(`http://127.0.0.1:${server.address().port}`, 'key', { accessToken, realtime: { transport: WebSocket } })

/** Return the outcome of a call, and how many seconds of a clock that is advanced it took. */
async function outcomeOf(call) {
  let outcome
  call().then(
    (value) => (outcome = { value }),
    (error) => (outcome = { error }),
  )
  for (let seconds = 0; seconds < LIMIT_S; seconds += 1) {
    await settle()
    if (outcome) return { ...outcome, seconds }
    mock.timers.tick(1000)
  }
  return { seconds: LIMIT_S }
}

const CALLS = {
  get: (smelt) => smelt.get(ID),
  list: (smelt) => smelt.list(),
  cancel: (smelt) => smelt.cancel(ID),
  delete: (smelt) => smelt.delete(ID),
  create: (smelt) => smelt.create({ text: 'Text' }),
  createBatch: (smelt) => smelt.createBatch(),
  'batch.get': (smelt) => smelt.batch(ID).get(),
  'notifications.list': (smelt) => smelt.notifications.list(),
  'notifications.unreadCount': (smelt) => smelt.notifications.unreadCount(),
  'notifications.seen': (smelt) => smelt.notifications.seen([ID]),
}
const APPS = { 'a response': async () => USER, 'a token': () => new Promise(() => {}) }

for (const [missing, accessToken] of Object.entries(APPS)) {
  for (const [name, call] of Object.entries(CALLS)) {
    test(`${name} without ${missing} times out`, async () => {
      const supabase = connect(accessToken)
      const { error, seconds } = await outcomeOf(() => call(connectSmelt({ supabase })))
      assert.deepEqual([error?.code, error?.transient], ['connection_lost', true], `after ${seconds} s`)
      assert.match(error.message, /no response within \d+ s/)
    })
  }
}

test('an abort is not delayed by a limit, and its reason is thrown', async () => {
  const stop = new AbortController()
  const getting = connectSmelt({ supabase: connect(async () => USER) }).get(ID, { signal: stop.signal })
  stop.abort(new Error('not needed'))
  await assert.rejects(getting, { message: 'not needed' })
})

test('within leaves no listener at the signal, and no timer', async (t) => {
  const { signal } = new AbortController()
  const listeners = new Set()
  t.mock.method(signal, 'addEventListener', (_, listener) => listeners.add(listener))
  t.mock.method(signal, 'removeEventListener', (_, listener) => listeners.delete(listener))
  let inner
  const work = (limit) => {
    inner = limit
    return Promise.resolve(1)
  }
  assert.equal(await within(work, signal, 1000), 1)
  await assert.rejects(within(Promise.reject(new Error('failed')), signal, 1000), { message: 'failed' })
  mock.timers.tick(5000)
  assert.deepEqual([listeners.size, inner.aborted], [0, false])
})
