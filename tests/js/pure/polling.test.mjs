// The intervals of reads and of new attempts.
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { pollInMs, retryInMs } from '../../../smelt/web/polling.js'

const fresh = { joined: true, eventAgeMs: 1_000, underWay: true }

afterEach(() => {
  delete globalThis.document
})

test('reads have three steps by freshness', () => {
  assert.equal(pollInMs(fresh), 30_000)
  for (let n = 0; n < 50; n += 1) {
    const ageing = pollInMs({ ...fresh, eventAgeMs: 30_001 })
    assert.ok(ageing >= 10_000 && ageing <= 15_000, `${ageing}`)
  }
  assert.equal(pollInMs({ ...fresh, eventAgeMs: 30_001, underWay: false }), 30_000)
  assert.equal(pollInMs({ ...fresh, joined: false }), 5_000)
})

test('reads are delayed by the request of the server, up to 30 s, and in a hidden page', () => {
  assert.equal(pollInMs({ ...fresh, joined: false, nextPollS: 8 }), 8_000)
  assert.equal(pollInMs({ ...fresh, joined: false, nextPollS: 900 }), 30_000)
  globalThis.document = { visibilityState: 'hidden' }
  assert.equal(pollInMs({ ...fresh, joined: false }), 60_000)
})

test('attempts are delayed exponentially with jitter, at most 30 s', () => {
  const delays = (failures) => Array.from({ length: 50 }, () => retryInMs(failures))
  assert.ok(delays(1).every((ms) => ms >= 500 && ms <= 1_000))
  assert.ok(delays(3).every((ms) => ms >= 2_000 && ms <= 4_000))
  assert.ok(delays(40).every((ms) => ms >= 15_000 && ms <= 30_000))
  assert.ok(new Set(delays(3)).size > 1)
})
