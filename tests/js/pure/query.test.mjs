// Invalidation and polling of TanStack Query, with a feed whose changes the test makes, and timers that it advances.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { environmentManager, QueryClient, QueryObserver } from '@tanstack/react-query'
import { smartPolling, smeltQueryInvalidator } from '../../../smelt/web/query.js'
import { Store } from '../../../smelt/web/store.js'

environmentManager.setIsServer(() => false) // On a server, queries do not poll.

/** Return a feed, observed queries by key that count their fetches, and a clock. */
function setUp(t, keys, { status = 'live', smelts = [], fetchMs = 0, polling = false } = {}) {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] })
  let now = 1_000_000
  t.mock.method(performance, 'now', () => now)
  const feed = new Store({ smelts, connection: { status } })
  const show = (change) => feed.set({ ...feed.view, ...change })
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } })
  const fetches = keys.map(() => 0)
  const unsubscribe = keys.map((queryKey, n) => {
    const queryFn = async () => {
      fetches[n] += 1
      if (fetchMs) await new Promise((resolve) => setTimeout(resolve, fetchMs))
      return fetches[n]
    }
    const refetchInterval = polling ? smartPolling(queryKey) : false
    return new QueryObserver(client, { queryKey, queryFn, staleTime: Infinity, refetchInterval }).subscribe(() => {})
  })
  t.after(() => {
    unsubscribe.forEach((end) => end())
    client.clear()
  })
  /** Advance the clock in steps, with all that promises do between them. */
  const pass = async (ms) => {
    for (let left = ms; left > 0; left -= 50) {
      now += 50
      t.mock.timers.tick(50)
      for (let n = 0; n < 20; n += 1) await null
    }
  }
  const change = (...changed) => feed.emit({ keys: changed })
  const start = () => smeltQueryInvalidator(client)({ feed })
  return { feed, client, fetches, pass, change, show, start }
}

test('a change invalidates its keys and those that begin with them', async (t) => {
  const keys = [['smelts', 'page', 1], ['smelt', 'a'], ['smelt', 'b'], ['smelt-counts'], ['other']]
  const { fetches, pass, change, start } = setUp(t, keys)
  await pass(100)
  const end = start()
  change(['smelt', 'a'], ['smelts'])
  await pass(100)
  assert.deepEqual(fetches, [2, 2, 1, 1, 1])
  change(['smelt-counts'])
  await pass(100)
  assert.deepEqual(fetches, [2, 2, 1, 2, 1])
  end()
  change(['smelt', 'b'])
  await pass(2000)
  assert.deepEqual(fetches, [2, 2, 1, 2, 1])
})

test('frequent changes refetch once a second', async (t) => {
  const { fetches, pass, change, start } = setUp(t, [['smelts']])
  await pass(100)
  t.after(start())
  for (let n = 0; n < 40; n += 1) {
    change(['smelts'])
    await pass(100)
  }
  await pass(2000)
  // At 0, 1, 2 and 3 s, and for the last changes at 4 s.
  assert.equal(fetches[0], 1 + 5)
})

test('frequent changes never cancel a slow refetch', async (t) => {
  const { client, fetches, pass, change, start } = setUp(t, [['smelts']], { fetchMs: 1500 })
  await pass(2000)
  t.after(start())
  for (let n = 0; n < 40; n += 1) {
    change(['smelts'])
    await pass(100)
  }
  await pass(4000)
  // At 0, 1.5 and 3 s, and for the last changes at 4.5 s.
  assert.equal(fetches[0], 1 + 4)
  assert.equal(client.getQueryData(['smelts']), 5)
})

test('polling is every 30 s with recent events, 10 to 15 s if they age while a smelt is under way', async (t) => {
  const { pass, change, show, start } = setUp(t, [], { status: 'connecting' })
  const interval = smartPolling(['smelts'])
  assert.equal(interval(), 5000)
  const end = start()
  assert.equal(interval(), 5000)
  show({ connection: { status: 'live' } })
  assert.equal(interval(), 30_000)
  await pass(31_000)
  assert.equal(interval(), 30_000, 'nothing is under way')
  show({ smelts: [{ status: 'transcribing' }] })
  const aging = interval()
  assert.ok(aging >= 10_000 && aging <= 15_000, `${aging}`)
  assert.equal(smartPolling(['smelts', 2])(), aging, 'renders get the same interval')
  change(['smelts'])
  assert.equal(interval(), 30_000)
  assert.equal(smartPolling(['smelt', 'a'])(), aging, 'each family has its own events')
  show({ connection: { status: 'polling' } })
  assert.equal(interval(), 5000)
  show({ connection: { status: 'live' } })
  assert.deepEqual([interval(), smartPolling(['smelt'])()], [30_000, 30_000])
  end()
  assert.equal(interval(), 5000)
})

test('a lost connection shortens the interval of queries at once', async (t) => {
  const { fetches, pass, show, start } = setUp(t, [['smelt', 'a']], { polling: true })
  t.after(start())
  await pass(100)
  show({ connection: { status: 'connecting' } })
  show({ connection: { status: 'live' } })
  await pass(2000)
  const [before] = fetches
  await pass(20_000)
  assert.equal(fetches[0], before)
  show({ connection: { status: 'polling' } })
  await pass(16_000)
  assert.equal(fetches[0], before + 4)
})

test('a refetch that fails does not stop later invalidations of its key', async (t) => {
  const { feed, client, pass, change } = setUp(t, [])
  let calls = 0
  const rejected = t.mock.method(client, 'invalidateQueries', async () => {
    calls += 1
    if (calls === 1) throw new Error('offline')
  })
  t.after(smeltQueryInvalidator(client)({ feed }))
  change(['smelts'])
  await pass(1500)
  change(['smelts'])
  await pass(100)
  assert.equal(rejected.mock.callCount(), 2)
})
